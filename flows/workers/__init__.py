"""A Prefect worker whose flow runs start at once: each is forked from a process that has all imports."""
