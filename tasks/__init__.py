"""Prefect tasks: thin wrappers that give pure functions a name, a cache and a retry policy."""
