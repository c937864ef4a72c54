"""Sweeps: which settings are tried, and which of them are best."""
