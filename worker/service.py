"""The worker that `faust -A worker worker` runs: settings, app, agent, logging, and checks before the start."""

import asyncio
import fcntl
import logging
import sys
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any, NoReturn

import faust
import torch
from threadpoolctl import threadpool_limits

from messaging.topics import check_topics
from rankers.device import choose_device
from schemas.durations import milliseconds
from schemas.errors import NextclickError, SettingsError
from schemas.settings import load_settings
from worker import machine_code
from worker.delivery.app import DeliveryApp
from worker.logs import set_up_logging
from worker.metrics.registry import registry_of
from worker.model_follower import ModelFollower
from worker.pipeline import Pipeline
from worker.recommender import Recommender
from worker.status import pages
from worker.web import PageServer

log = logging.getLogger(__name__)


def create_app() -> DeliveryApp:
    """Build the Faust app from the settings. A bad setting ends the process with one readable line."""
    try:
        settings = load_settings()
        device = choose_device(settings.device)
    except NextclickError as error:
        _stop(error)
    app = DeliveryApp(
        settings,
        web_bind=settings.web_bind,
        web_port=settings.web_port,
        Worker=Worker,
    )
    torch.set_num_threads(settings.torch_threads)
    threadpool_limits(settings.torch_threads)
    recommender = Recommender(
        gap_ms=milliseconds(settings.session_gap),
        history=settings.session_history,
        storage=settings.state_precision,
        state_format=settings.state_format,
    )
    pipeline = Pipeline(app, settings, recommender)
    follower = ModelFollower(settings, device, pipeline.swap_champion, pipeline.swap_shadow, app.outage)
    app.pages = PageServer(pages(app, registry_of(app, pipeline, recommender, follower)))
    clicks = app.topic(settings.clicks_topic, key_type=bytes, value_type=bytes)

    @app.agent(clicks, name="recommend")
    async def recommend(stream: Any) -> None:
        """Answer clicks in micro-batches, after the last announced model is loaded."""
        app.source.connect(stream.channel.queue)
        await _answer_clicks(app, pipeline, follower)

    return app


async def _answer_clicks(app: DeliveryApp, pipeline: Pipeline, follower: ModelFollower) -> None:
    """Run the pipeline together with the tasks that follow models, expire sessions and publish evidence."""
    beside = [
        asyncio.create_task(work, name=name)
        for name, work in (
            ("models", follower.run()),
            ("clicks topic", app.watch_log()),
            ("skipped clicks", pipeline.skipped.tell()),
            ("rejected messages", pipeline.rejects.tell()),
            ("expiry", pipeline.expire_sessions()),
            ("evidence", pipeline.tell_evidence()),
        )
    ]
    for task in beside:
        task.add_done_callback(app.fail_with)
    try:
        await follower.first_look.wait()
        await pipeline.run()
    except Exception as error:  # if only the agent restarted, the clicks that it had taken would be lost
        app.fail(error)
    finally:
        for task in beside:
            task.cancel()


class Worker(faust.Worker):
    """Faust's worker with plain log lines and checks before the start. A failed check is one readable line."""

    def __init__(self, app: DeliveryApp, *args: Any, **options: Any) -> None:
        super().__init__(app, *args, **options)
        self._as_json = app.settings.log_format == "json"
        self.spinner = None  # its log handler sets the root logger to DEBUG, which takes a fifth of the worker's time

    def _setup_logging(self) -> None:
        set_up_logging(self.app.outage, self.loglevel, self.logfile, self.app.settings.log_format)

    def _schedule_shutdown(self, signal: Any) -> None:
        if not self._signal_stop_time:
            self.app.stop_in_time()
        super()._schedule_shutdown(signal)

    def _open_pages(self) -> None:
        """Serve the pages from now on: they also tell how far the start is."""
        web = self.app.conf
        if web.web_transport.scheme != "tcp":
            raise SettingsError(
                f"--web-transport {web.web_transport}: the pages are served over TCP: use --web-bind and --web-port"
            )
        self.loop.run_until_complete(self.app.pages.start(web.web_bind, web.web_port))

    def _tell_understood(self) -> None:
        """One line with what decides where clicks come from, what they are answered with and where states are."""
        settings, web = self.app.settings, self.app.conf
        device = str(choose_device(settings.device))
        pages = f"pages at {web.web_bind}:{web.web_port}" if web.web_enabled else "no pages"
        log.info(
            "starting: broker %s (%s), group %s, clicks from %s (%d partitions), answers to %s, "
            "model %s from %s on %s, states in %s, %s",
            settings.broker, settings.security_protocol, settings.app_id, settings.clicks_topic, settings.partitions,
            settings.recommendations_topic, settings.model_name, settings.models_topic, device, settings.data_dir,
            pages,
            extra={
                "broker": settings.broker, "security_protocol": settings.security_protocol, "group": settings.app_id,
                "clicks_topic": settings.clicks_topic, "partition_count": settings.partitions,
                "model": settings.model_name, "device": device, "version": version("nextclick"),
            },
        )  # fmt: skip

    async def on_shutdown(self) -> None:
        """Close the pages last: while the worker stops, they say so."""
        await super().on_shutdown()
        await self.app.pages.stop()

    def execute_from_commandline(self) -> NoReturn:
        """Check data directory, broker and topics, open the pages, compile, then run until a signal arrives."""
        settings = self.app.settings
        try:
            self._setup_logging()
            lock = _lock(settings.data_dir)
            if self.app.conf.web_enabled:
                self._open_pages()
            warnings = self.loop.run_until_complete(check_topics(settings, may_have_more=True))  # the watch tells these
            for line in warnings:
                log.warning("%s", line)
            self._tell_understood()
            self.loop.run_until_complete(machine_code.compile_scorers_ahead(settings.data_dir))
        except NextclickError as error:
            if self._as_json:
                log.critical("%s", error)
                sys.exit(1)
            _stop(error)
        with lock:
            super().execute_from_commandline()
        raise AssertionError("the line above exits")


def _lock(data_dir: Path) -> IO[str]:
    """Lock the data directory for this process: two workers in one directory would corrupt each other's states."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        lock = (data_dir / "worker.lock").open("w")
    except OSError as error:
        raise SettingsError(f"NEXTCLICK_DATA_DIR={str(data_dir)!r} cannot be written: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise SettingsError(
            f"NEXTCLICK_DATA_DIR={str(data_dir)!r} is in use by another worker: give each worker its own"
        ) from None
    return lock


def _stop(error: NextclickError) -> NoReturn:
    print(f"nextclick: {error}", file=sys.stderr)
    sys.exit(1)
