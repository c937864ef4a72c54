"""The trainings of a run: their order, and each in this process."""
