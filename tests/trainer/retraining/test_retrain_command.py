"""`nextclick retrain` in a container: how it ends."""

import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from schemas.settings import Settings
from tests.command_line import Command
from tests.modelregistry.topic import decisions
from tests.trainer.retraining.shopclicks import retrain_settings, send, shop_clicks
from tests.trainer.retraining.test_end_to_end import start


@pytest.mark.parametrize(("options", "code"), [((), 3), (("--kept-is-done",), 0)])
def test_a_model_that_was_kept_is_no_failure_of_a_job(
    options: tuple[str, ...], code: int, nextclick: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = SimpleNamespace(outcome="kept", reason="not surely better")
    monkeypatch.setattr("trainer.retraining.run.retrain", lambda *_: kept)
    done = nextclick("retrain", *options)
    assert (done.code, done.stdout) == (code, "kept: not surely better\n")


@pytest.mark.slow
@pytest.mark.usefixtures("compiled_kernel")
def test_sigterm_ends_a_retraining_at_once_and_the_next_one_continues(kafka_settings: Settings, tmp_path: Path) -> None:
    settings = retrain_settings(kafka_settings, tmp_path)
    assert settings.retrain_config is not None
    settings.retrain_config.write_text("hidden = 64\nepochs = 200\nbatch-size = 32\nsamples = 512\n")
    send(settings, shop_clicks(2400))
    log = tmp_path / "retrain.log"
    running = [start(settings, log, "retrain")]
    try:
        checkpoint = settings.data_dir / "retraining" / settings.model_name / "checkpoint" / "checkpoint.safetensors"
        deadline = time.monotonic() + 120
        while not checkpoint.exists():
            assert running[0].poll() is None, log.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        running[0].terminate()
        assert running[0].wait(30) == 143, log.read_text()
        assert decisions(settings) == []

        running.append(start(settings, log, "retrain"))  # the lease is free at once: a killed holder's lasts for 12 s
        while "going on with a retraining that was interrupted" not in log.read_text():
            assert running[1].poll() is None, log.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        running[1].terminate()
        assert running[1].wait(30) == 143, log.read_text()
    finally:
        for process in running:
            process.kill()
            process.wait()
    assert "Traceback" not in log.read_text()
