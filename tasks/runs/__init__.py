"""Publish, plan, list, look up, compare, verify and garbage-collect runs; their model cards, sweeps and aliases."""
