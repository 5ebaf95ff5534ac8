<<<<<<< HEAD
"""A module for the library `evaluate`: `evaluate.load` takes the path of this folder."""
=======
"""Mean average precision; `evaluate.load` also takes the path of this folder."""
>>>>>>> types1
