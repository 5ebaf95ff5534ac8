"""Training of a small EnCodec: its quantizer, losses and training loop, and the evaluation of its codes."""
