"""Plan, publish, list, look up, compare, verify and garbage-collect runs; model cards, sweeps and aliases."""
