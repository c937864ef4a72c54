"""Which model is in use: promotion, and the comparison with the one before on images that neither has seen."""
