"""The form of the names of models, versions and deployments, which are parts of keys, paths and consumer groups."""

NAME = r"^[A-Za-z0-9._-]{1,120}$"
"""A regular expression for pydantic's `pattern`."""
