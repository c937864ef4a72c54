"""A check of a data set: flawed pictures, duplicates, uneven classes and labels that are probably wrong."""
