"""Several machines in one training: how they meet, and the process that each trains in."""
