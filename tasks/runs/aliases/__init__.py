"""Names for models in use, with their history."""
