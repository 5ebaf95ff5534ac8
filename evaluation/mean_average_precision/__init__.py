"""The folder is an `evaluate` module of its own: `evaluate.load` takes its path."""
