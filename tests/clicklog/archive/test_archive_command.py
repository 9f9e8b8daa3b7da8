"""`nextclick archive` as a service."""

import json
import time
from pathlib import Path

from schemas.settings import Settings
from tests.clicklog.archive.topic import produce, some_clicks
from tests.trainer.retraining.test_end_to_end import start


def wait_for_beats(heartbeat: Path, since: float) -> float:
    deadline = time.monotonic() + 60
    while not heartbeat.exists() or heartbeat.stat().st_mtime <= since:
        assert time.monotonic() < deadline, "no heartbeat"
        time.sleep(0.1)
    return heartbeat.stat().st_mtime


def test_its_heartbeat_goes_on_for_as_long_as_it_runs(archive_settings: Settings, tmp_path: Path) -> None:
    produce(archive_settings, some_clicks(100))
    heartbeat, log = tmp_path / "heartbeat", tmp_path / "archive.log"
    archiver = start(archive_settings, log, "archive", "--heartbeat", str(heartbeat))
    try:
        first = wait_for_beats(heartbeat, 0)
        wait_for_beats(heartbeat, first)
        archiver.terminate()
        assert archiver.wait(30) == 0
    finally:
        archiver.kill()
        archiver.wait()
    assert "archived 100 clicks" in log.read_text()


def test_its_lines_are_json_where_the_settings_say_so(archive_settings: Settings, tmp_path: Path) -> None:
    produce(archive_settings, some_clicks(100))
    log = tmp_path / "archive.log"
    archiver = start(archive_settings.model_copy(update={"log_format": "json"}), log, "archive", "--once")
    assert archiver.wait(60) == 0
    *_, last = [json.loads(line) for line in log.read_text().splitlines()]
    assert (last["level"], last["logger"], last["clicks"], last["lag"]) == ("INFO", "nextclick.archive", 100, 0)
