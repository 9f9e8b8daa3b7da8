"""A worker that looks for sessions whose life is over every second."""

from worker import pipeline
from worker.service import create_app

pipeline.SWEEP_SECONDS = 1.0
app = create_app()
