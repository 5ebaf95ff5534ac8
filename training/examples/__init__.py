"""What a model trains on: data sets of examples, and the collators that make batches of them."""
