"""A look at a data set: flawed pictures, duplicates, uneven classes and labels that are probably wrong."""
