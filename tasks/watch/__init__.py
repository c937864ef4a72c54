"""Whether data has changed by enough for a new run: a cheap listing against that of the last one."""
