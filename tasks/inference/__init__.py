"""Inference with trained models: predictions, scores, export to other formats."""
