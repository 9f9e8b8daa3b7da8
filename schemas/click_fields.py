"""Where the values of a click are in a message: `session_id=user.sid,item_id=payload.sku,timestamp=ts,event=type`."""

import difflib

from schemas.message_fields import check_paths

NEEDED = ("session_id", "item_id", "timestamp")
KNOWN = (*NEEDED, "event")


def read_click_fields(text: str) -> dict[str, str]:
    """Read NEXTCLICK_CLICK_FIELDS.

    Returns:
        the name of each value of a click → its path. What the text does not name is under its own name; `event` is
        there only if it is named.

    Raises:
        ValueError: a name is unknown or comes twice, or a path is missing or leads into another.
    """
    fields = dict(zip(NEEDED, NEEDED, strict=True)) | named_fields(text)
    check_paths(fields)
    return fields


def named_fields(text: str) -> dict[str, str]:
    """Only what the text names: name → path.

    Raises:
        ValueError: a name is unknown or comes twice.
    """
    fields: dict[str, str] = {}
    for part in filter(None, map(str.strip, text.split(","))):
        name, _, path = (piece.strip() for piece in part.partition("="))
        if name not in KNOWN:
            guess = difflib.get_close_matches(name, KNOWN, n=1)
            hint = f"did you mean {guess[0]}?" if guess else f"the names are {', '.join(KNOWN)}"
            raise ValueError(f"{name!r} is no value of a click: {hint}")
        if name in fields:
            raise ValueError(f"{name} is given twice")
        fields[name] = path
    return fields
