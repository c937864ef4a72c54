"""What a sweep trains, and how its runs are trained."""
