"""Decoding pictures, stored as soon as a shard is full, so that few are decoded twice."""
