"""Where datasets, models, checkpoints and run folders are kept: bytes by content, small documents by name."""
