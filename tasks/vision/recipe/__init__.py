"""Recipes: their schema, parsing and writing."""
