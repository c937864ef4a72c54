"""The networks: layers, weights, and how they compute where they run."""
