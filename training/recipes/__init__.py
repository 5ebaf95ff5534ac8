"""Recipes: settings of a run in YAML, each a base and what differs from it, one folder per model family."""

from .conversion import convert, describe_type
from .loading import Recipe, RecipeError, available_recipes, load_recipe, similar_names

__all__ = [
    "Recipe",
    "RecipeError",
    "available_recipes",
    "convert",
    "describe_type",
    "load_recipe",
    "similar_names",
]
