"""Recipes: what they may say, read and written."""
