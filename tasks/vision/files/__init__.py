"""Folders, archives and listings of files, checked before anything is read."""
