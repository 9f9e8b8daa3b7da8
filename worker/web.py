"""A web server with a fixed set of read-only pages, and nothing else on its port.

Faust's own web server also shows its tables, its settings and a page of tests, and it starts after the broker was
reached. So it stays off, and the worker runs this one: it answers from before the first connection to the broker until
the last partition is given up.
"""

import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from aiohttp import web

from schemas.errors import SettingsError

CLOSE_SECONDS = 1.0
"""How long a request under way may go on when the server stops."""


@dataclass(frozen=True)
class Page:
    """One answer to a request.

    Attributes:
        body: the page.
        content_type: its type, with the character set.
        status: HTTP status.
    """

    body: bytes
    content_type: str
    status: int = 200


class PageServer:
    """Serves pages by GET and HEAD. Another method is 405, another path is 404.

    Args:
        pages: path → a function that makes the page; it is called on the event loop for each request.
    """

    def __init__(self, pages: Mapping[str, Callable[[], Page]]) -> None:
        self._pages = pages
        self._runner: web.AppRunner | None = None

    async def start(self, address: str, port: int) -> None:
        """Listen.

        Raises:
            SettingsError: nothing can listen there.
        """
        application = web.Application()
        application.on_response_prepare.append(_without_versions)
        for path, make in self._pages.items():
            application.router.add_get(path, _handler(make))
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=CLOSE_SECONDS)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, address, port).start()
        except OSError as error:
            await self.stop()
            why = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
            raise SettingsError(
                f"NEXTCLICK_WEB_PORT={port} on {address} cannot be used ({why}): give each worker on one machine its "
                "own, set NEXTCLICK_WEB_BIND to an address of this machine, or start the worker with --without-web"
            ) from error

    async def stop(self) -> None:
        """Close the port; nothing happens where it is not open."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()


def _handler(make: Callable[[], Page]) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_request: web.Request) -> web.Response:
        page = make()
        return web.Response(body=page.body, status=page.status, headers={"Content-Type": page.content_type})

    return answer


async def _without_versions(_request: web.Request, response: web.StreamResponse) -> None:
    """Name neither Python's version nor aiohttp's in the header `Server`."""
    response.headers["Server"] = "nextclick"
