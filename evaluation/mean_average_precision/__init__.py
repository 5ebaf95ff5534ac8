"""Mean average precision; `evaluate.load` also takes the path of this folder."""
