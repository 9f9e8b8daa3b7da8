"""The `.env` file as people really write it: also with a byte order mark, as UTF-16, and with Windows line ends."""

import codecs
import io
import os
import re
from pathlib import Path

from dotenv.parser import Binding, parse_stream

from schemas.errors import SettingsError
from schemas.names import is_secret
from schemas.pem import is_pem


def read_env_file(path: Path, prefix: str) -> tuple[dict[str, str | None], str]:
    """The names and values of a `.env` file, and its encoding; no names if there is no such file.

    Args:
        path: of the file.
        prefix: lines of other programs, whose names do not begin so, are not checked.

    Raises:
        SettingsError: a line cannot be read, or the file is no text.
    """
    if not os.path.lexists(path):
        return {}, "utf-8"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SettingsError(f"{path} cannot be read ({error.strerror}): mend it, or remove it") from error
    text, encoding = _decoded(path, data)
    bindings = list(parse_stream(io.StringIO(text, newline=None)))
    for binding in bindings:
        _check(path, binding, prefix)
    return {binding.key: binding.value for binding in bindings if binding.key is not None}, encoding


def _decoded(path: Path, data: bytes) -> tuple[str, str]:
    """The text of a file, and its encoding."""
    encoding = "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SettingsError(
            f"{path}, line {line}: byte {data[error.start]:#x} is not UTF-8: save the file as UTF-8"
        ) from error
    if "\0" in text:
        raise SettingsError(f"{path} has zero bytes, as UTF-16 and UTF-32 have: save the file as UTF-8")
    return text, encoding


def _check(path: Path, binding: Binding, prefix: str) -> None:
    """Refuse a line that would be lost, and a value that is not what was meant."""
    text = binding.original.string.strip()
    if prefix not in text.upper():
        return
    place = f"{path}, line {binding.original.line}"
    line = _shown(text.splitlines()[0])
    if binding.error:
        raise SettingsError(f"{place}: {line!r} is not NAME=value: is a quote sign missing?")
    name = (binding.key or "").upper()
    if prefix in name and (not name.startswith(prefix) or binding.value is None):
        raise SettingsError(f"{place}: {line!r} is not {prefix}…=value, and would be passed over")
    if any(line.strip().upper().startswith(prefix) for line in (binding.value or "").splitlines()[1:]):
        raise SettingsError(f"{place}: the value of {binding.key} goes on over several lines: is a quote sign missing?")
    if is_secret(name) and "${" in binding.original.string:
        raise SettingsError(f"{place}: ${{…}} in {binding.key} would be replaced: put it in a file, and name that")
    if name.startswith(prefix) and not is_pem(binding.value or "") and any(map(_is_control, binding.value or "")):
        shown = "…" if is_secret(name) else repr(binding.value)
        raise SettingsError(
            rf"{place}: {binding.key}={shown} has a control character: in double "
            r"quotes \n is a line end and \t a tab: write the value in single quotes"
        )


def _shown(line: str) -> str:
    """A line for a message: without its value, if that is a secret."""
    secret = is_secret(line) or re.search("SASL|SSL|PASS|TOKEN", line, re.IGNORECASE)
    return re.split(r"[=:\s]", line.removeprefix("export "), maxsplit=1)[0] + "=…" if secret else line


def _is_control(sign: str) -> bool:
    return ord(sign) < 32
