"""Whether the workers' sessions store as many items as a model reads."""

from schemas.errors import BundleError
from schemas.settings import Settings


def check_session_history(history: int, model: str, settings: Settings) -> None:
    """Refuse a model that reads more of a session than is stored.

    Args:
        history: number of last items that the model reads, see `rankers.contract.Needs`.
        model: how a message names the model.
        settings: NEXTCLICK_SESSION_HISTORY, which must be the same for the workers and for who publishes.

    Raises:
        BundleError: the model reads more.
    """
    if history > settings.session_history:
        raise BundleError(
            f"{model} reads the last {history} items of a session, and "
            f"NEXTCLICK_SESSION_HISTORY={settings.session_history} keeps fewer: set it to {history} or more, on every "
            "worker and where models are trained and published, or train with a smaller window"
        )
