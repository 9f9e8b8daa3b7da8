"""Sessions made for tests of training."""

import numpy as np

from clicklog.sessions import Sessions


def sessions_of(*items: list[int]) -> Sessions:
    offsets = np.concatenate([[0], np.cumsum([len(session) for session in items])]).astype(np.int64)
    return Sessions(np.concatenate([np.asarray(session) for session in items]).astype(np.int64), offsets)


def support_of(sessions: Sessions, items: int) -> np.ndarray:
    return np.maximum(np.bincount(sessions.items, minlength=items), 1)


def markov_sessions(noise: float, count: int, seed: int, items: int = 60) -> Sessions:
    """After item i comes item 7i+3, or with probability `noise` a random item."""
    random = np.random.default_rng(seed)
    sessions = []
    for _ in range(count):
        session = [int(random.integers(items))]
        while len(session) < 6:
            goes_anywhere = random.random() < noise
            session.append(int(random.integers(items)) if goes_anywhere else (7 * session[-1] + 3) % items)
        sessions.append(session)
    return sessions_of(*sessions)


def sessions_whose_first_click_counts(count: int = 800) -> Sessions:
    """The first click (0 to 4) determines the third one; the second click is item 10 in all sessions."""
    return sessions_of(*([first, 10, 5 + first] for first in np.random.default_rng(0).integers(0, 5, count).tolist()))
