"""What one picture file is, and its pixels, within bounds of time and memory."""
