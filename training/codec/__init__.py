"""Training of a small EnCodec: the quantizer, the losses, the loop, and what its codes are worth."""
