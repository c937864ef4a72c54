"""Runs: published, found again, compared, verified and collected."""
