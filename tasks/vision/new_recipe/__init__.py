"""A recipe drafted from a person's own folders of pictures."""
