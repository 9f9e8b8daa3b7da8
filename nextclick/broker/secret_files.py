"""Files with secrets: only their owner can read them."""

import os
from pathlib import Path


def write_secret(path: Path, content: bytes) -> None:
    """Write a file that nobody else could read at any moment (mode 0600)."""
    path.unlink(missing_ok=True)  # an older file might be readable for others, or open in their hands
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
