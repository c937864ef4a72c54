"""Scores of a model's predictions, their intervals and significance."""
