"""A worker that kills itself after a given step of its n-th delivery: NEXTCLICK_TEST_CRASH=answers:3.

It runs one delivery at a time. With several, answers of later deliveries may be out before the crash and be produced
again. These duplicates would hide whether the crashed delivery made any.
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
