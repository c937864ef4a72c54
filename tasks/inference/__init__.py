"""Trained models at work on images: predictions, scores, other formats."""
