"""Commands for a fleet: what is deployed, and its workers."""
