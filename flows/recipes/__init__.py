"""The recipes that come with relevo, as TOML files."""
