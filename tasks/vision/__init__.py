"""Images, networks and training as pure functions: without Prefect and without the store."""
