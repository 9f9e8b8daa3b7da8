"""When a session starts anew: the one rule that training and serving share."""


def starts_anew(previous_ms: int, click_ms: int, gap_ms: int) -> bool:
    """Whether a click comes after so long a silence that it begins a new session.

    Works on numbers and, element by element, on numpy arrays. A click that is stamped earlier than the one before it is
    late, not a new start.

    Args:
        previous_ms: time of the session's click before it, ms since 1970 UTC.
        click_ms: time of the click.
        gap_ms: the longest silence within a session, ms.
    """
    return click_ms - previous_ms > gap_ms
