"""Read a foreign network from a `.keras` file, as data and within bounds."""
