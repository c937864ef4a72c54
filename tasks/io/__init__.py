"""What tasks leave in the store: loaded, checkpointed, and found by address."""
