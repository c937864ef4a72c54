"""One stage's training, from images to a model."""
