"""Stages and runs as flow runs on workers of a Prefect server."""
