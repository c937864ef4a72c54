"""The command line `relevo`: commands, their options, and what they print."""
