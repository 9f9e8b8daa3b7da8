"""The form of the names of models, versions and deployments, and the names of variables that hold secrets."""

import re

NAME = r"^[A-Za-z0-9._-]{1,120}$"
"""A regular expression for pydantic's `pattern`: such names are parts of keys, paths and consumer groups."""

_SECRET = re.compile(r"PASSWORD|PASSWRD|SECRET|SSL_KEY(?!FILE|_)", re.IGNORECASE)


def is_secret(variable: str) -> bool:
    """Whether a variable of this name holds a secret, which no message may show. A file of a secret is none."""
    return _SECRET.search(variable) is not None and not variable.upper().endswith("_FILE")
