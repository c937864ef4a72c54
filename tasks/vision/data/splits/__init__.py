"""Dividing pictures into training, validation and test images where they have no split."""
