"""Pre-training, one module per objective."""
