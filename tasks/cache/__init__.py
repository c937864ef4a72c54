"""The one cache: keys, records, and what a hit means."""
