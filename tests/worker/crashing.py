"""A worker that kills itself after a given step of its n-th delivery: NEXTCLICK_TEST_CRASH=answers:3.

It has one delivery under way at a time. With several, the answers of later ones may be out at the moment of the crash
and come again, which would hide whether those of the crashed one do.
"""

import os
import signal
from collections import Counter

from worker import pipeline
from worker.service import create_app

pipeline.MAX_UNDER_WAY = 1
app = create_app()

_step, _turn = os.environ["NEXTCLICK_TEST_CRASH"].split(":")
_seen: Counter[str] = Counter()


def crash(step: str) -> None:
    _seen[step] += 1
    if step == _step and _seen[step] == int(_turn):
        os.kill(os.getpid(), signal.SIGKILL)


app.after_step = crash
