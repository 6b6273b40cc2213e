"""A model as a directory, and everything that asks it."""
