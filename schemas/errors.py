"""Every error that nextclick raises on purpose, as one tree.

    NextclickError            something an operator or a caller can act on; shown as one line, without a traceback
    ├── SettingsError         a setting is misspelt, has the wrong type or contradicts another
    ├── BrokerError           no Kafka broker answers, or it refuses a request
    │   └── RefusedError      Kafka answers, and refuses this client: TLS, login or a permission
    ├── TopicError            a topic is missing, or exists with other properties than the settings say
    ├── ClicksError           a file or topic of clicks cannot be read, or has no usable clicks
    ├── TrainingError         training cannot start or continue: no usable sessions, too little memory
    │   └── DivergedError     loss, weights or scores are no longer numbers: the learning rate is too high
    ├── BundleError           a model bundle is truncated, altered, of another format, or cannot be fetched
    └── StateError            a packed session state cannot be read, or the state directory cannot be read or written
        ├── NewerStateError   a session state was written by a newer version: this worker must stop
        └── DamagedStoreError the stored states of a partition are damaged; they were deleted, to be recovered anew

Each message names the value, where it came from and what to do.
"""


class NextclickError(Exception):
    """Base of all errors raised on purpose; `str(error)` is the one line shown to the user."""


class SettingsError(NextclickError):
    """A setting is misspelt, has the wrong type or contradicts another."""


class BrokerError(NextclickError):
    """No Kafka broker answers at the configured address, or it refuses a request."""


class RefusedError(BrokerError):
    """Kafka answers, and refuses this client: its TLS, its login, or what it may do."""


class TopicError(NextclickError):
    """A topic is missing, or exists with other properties than the settings say."""


class ClicksError(NextclickError):
    """A file or topic of clicks cannot be read, or has no usable clicks."""


class TrainingError(NextclickError):
    """Training cannot start or continue."""


class DivergedError(TrainingError):
    """Loss, weights or scores of a network are no longer numbers."""


class BundleError(NextclickError):
    """A model bundle is truncated, altered, of another format, or cannot be fetched."""


class StateError(NextclickError):
    """A packed session state cannot be read, or the state directory cannot be read or written."""


class NewerStateError(StateError):
    """A session state was written by a newer version of nextclick. A worker that reads one stops."""


class DamagedStoreError(StateError):
    """The stored states of a partition are damaged and were deleted. A recovery reads them from the changelog."""

    def __init__(self, message: str, partition: int) -> None:
        super().__init__(message)
        self.partition = partition


LONGEST = 1000
"""Characters of a message; a longer one quotes a file or a response as a whole."""


def one_line(error: BaseException) -> str:
    """The text of an error in one line; the name of its class if it has no text."""
    return printable(str(error)) or type(error).__name__


def printable(text: str, longest: int = LONGEST) -> str:
    """A text as one line without control characters; its middle is left out if it is too long.

    Example:
        >>> printable("a\x00b\nc")
        'a\\x00b c'
    """
    line = " ".join(text.split())
    shown = "".join(each if each.isprintable() else repr(each)[1:-1] for each in line)
    if len(shown) <= longest:
        return shown
    return f"{shown[: longest // 2]} … {shown[-longest // 4 :]} ({len(text):,} characters)"
