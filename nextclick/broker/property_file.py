"""Files in the form of Java's properties."""

from collections.abc import Mapping


def content_of(properties: Mapping[str, str]) -> bytes:
    """The content of a properties file, in ASCII: Java reads such files as ISO-8859-1."""
    text = "".join(f"{name}={value}\n" for name, value in properties.items())
    return "".join(sign if sign.isascii() else f"\\u{ord(sign):04x}" for sign in text).encode()
