"""Prefect's server for the command line: its address, its database, and how it is started."""
