"""Images, networks and training as pure functions: no Prefect and no storage in this room."""
