"""What the names of models, versions and deployments are made of: they stand in keys, paths and consumer groups."""

NAME = r"^[A-Za-z0-9._-]{1,120}$"
"""For pydantic's `pattern`."""
