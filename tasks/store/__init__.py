"""Storage: datasets, models and other blobs by content hash; checkpoints, cache records, runs by name."""
