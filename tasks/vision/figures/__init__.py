"""The report's figures: curves, predictions, and their words and numbers."""
