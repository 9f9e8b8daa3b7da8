"""Settings that may hold the text of a certificate or a key, where others hold the path of a file."""


def is_pem(text: str) -> bool:
    """Whether a setting is PEM text and no path."""
    return "-----BEGIN" in text


def shown(text: str) -> str:
    """A setting for a message: a path in quotes, and no text of a certificate or a key."""
    return "(PEM text)" if is_pem(text) else repr(text)
