"""The commands of `audioformer`, one module each."""
