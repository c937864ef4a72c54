"""What a model's answers are worth: scores, intervals, significance."""
