"""The report: its page, its figures and its words."""
