"""A module for the library `evaluate`: `evaluate.load` takes the path of this folder."""
