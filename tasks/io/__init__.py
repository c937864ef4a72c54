"""Reading and writing the store's typed contents: datasets, models, evaluations, checkpoints."""
