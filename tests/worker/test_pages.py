"""The worker's web port: which pages there are, when they answer, and what they say."""

import asyncio
import json
import socket
import urllib.error
import urllib.request
from collections.abc import AsyncIterator

import pytest

from schemas.errors import SettingsError
from tests.worker.deployment import Deployment
from worker.web import Page, PageServer

FAUSTS_PAGES = (
    "/",
    "/graph/",
    "/table/",
    "/router/",
    "/stats/",
    "/assignment/",
    "/test/",
    "/docs/",
    "/health/x",
    "/live/",
)


def ask(port: int, path: str, method: str = "GET") -> tuple[int, bytes]:
    """Status and body; status 0 while nothing listens."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    except OSError:
        return 0, b""


class TestServer:
    @pytest.fixture
    async def port(self, free_port: int) -> AsyncIterator[int]:
        pages = {"/a": lambda: Page(b"fine", "text/plain"), "/b": lambda: Page(b"ill", "text/plain", 503)}
        server = PageServer(pages)
        await server.start("127.0.0.1", free_port)
        yield free_port
        await server.stop()
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", free_port)), "the port is still open"

    async def test_pages_answer_get_and_head_and_nothing_else_is_there(self, port: int) -> None:
        async def get(path: str, method: str = "GET") -> tuple[int, bytes]:
            return await asyncio.to_thread(ask, port, path, method)

        assert await get("/a") == (200, b"fine")
        assert await get("/b") == (503, b"ill")
        assert await get("/a", "HEAD") == (200, b"")
        for method in ("POST", "PUT", "DELETE", "OPTIONS"):
            assert (await get("/a", method))[0] == 405, method
        for path in FAUSTS_PAGES:
            assert (await get(path))[0] == 404, path

    async def test_an_address_that_cannot_be_used_is_one_line(self, port: int) -> None:
        for address, why in (("127.0.0.1", "Address already in use"), ("192.0.2.1", "Cannot assign requested address")):
            with pytest.raises(SettingsError, match=rf"NEXTCLICK_WEB_PORT={port} on {address} cannot be used \({why}"):
                await PageServer({}).start(address, port)


@pytest.mark.slow
@pytest.mark.xdist_group("deployments")
@pytest.mark.usefixtures("compiled_scorer")
class TestWorker:
    def test_pages_from_the_start_to_the_stop(self, deployment: Deployment, free_port: int) -> None:
        """Before the broker is reached the worker is alive and not ready; a stop closes the port."""
        with socket.socket() as silent:  # takes connections and never answers
            silent.bind(("127.0.0.1", 0))
            silent.listen()
            address = f"127.0.0.1:{silent.getsockname()[1]}"
            waits = deployment.start("waits", web=True, NEXTCLICK_WEB_PORT=str(free_port), NEXTCLICK_BROKER=address)
            deployment.wait_until(lambda: ask(free_port, "/live")[0] == 200 or not waits.alive, "a page")
            status, body = ask(free_port, "/health")
            assert (status, json.loads(body)["reason"]) == (503, "the worker is starting")
            assert b"nextclick_ready 0.0" in ask(free_port, "/metrics")[1]
            assert waits.process.wait(60) == 1
        deployment.publish()
        worker = deployment.start(web=True, NEXTCLICK_WEB_PORT=str(free_port))
        deployment.wait_until(lambda: ask(free_port, "/health")[0] == 200, "good health")
        assert json.loads(ask(free_port, "/health")[1])["partitions"] == list(range(deployment.settings.partitions))
        for path in FAUSTS_PAGES:
            assert ask(free_port, path)[0] == 404, path
        assert ask(free_port, "/metrics", "HEAD") == (200, b"")
        assert ask(free_port, "/metrics", "POST")[0] == 405
        assert worker.stop() == 0
        assert ask(free_port, "/live")[0] == 0

    def test_options_of_the_command_line_win_over_the_settings(self, deployment: Deployment, free_port: int) -> None:
        options = ["--web-port", str(free_port), "--web-bind", "localhost", "--web-host", "worker-1"]
        worker = deployment.start(web=True, options=options, NEXTCLICK_WEB_PORT="1", NEXTCLICK_WEB_BIND="192.0.2.1")
        deployment.wait_until(lambda: ask(free_port, "/live")[0] == 200 or not worker.alive, "a page")
        assert worker.alive, worker.said
        hidden = deployment.start("hidden", web=False, NEXTCLICK_WEB_PORT=str(free_port))  # else the port is taken
        deployment.wait_until(lambda: "no model is announced yet" in hidden.said, "a start")
        refused = deployment.start("refused", web=True, options=["--web-transport", "unix:///tmp/x"])
        assert refused.process.wait(60) == 1
        assert refused.said.splitlines()[-1].endswith("pages are served over TCP: use --web-bind and --web-port")
