"""What the worker's pages show: `/metrics` for Prometheus, `/health` and `/live` for health checks."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest

from worker.delivery.app import DeliveryApp
from worker.delivery.watchdog import dead_loop
from worker.web import Page

PROMETHEUS_TEXT = "text/plain; version=0.0.4; charset=utf-8"


def pages(app: DeliveryApp, registry: CollectorRegistry) -> Mapping[str, Callable[[], Page]]:
    """Path → a function that makes the page."""
    return {
        "/metrics": lambda: Page(generate_latest(registry), PROMETHEUS_TEXT),
        "/health": lambda: _health(app),
        "/live": lambda: _liveness(app),
    }


def _health(app: DeliveryApp) -> Page:
    """200 while clicks are answered, or none are for this worker; else 503 with the reason."""
    reason = app.ill_health()
    body: dict[str, Any] = {
        "ready": reason is None,
        "partitions": app.partitions(),
        "recovering": app.in_recovery,
        "reason": reason,
    }
    return _json(body, reason)


def _liveness(app: DeliveryApp) -> Page:
    """200 while the process's event loops run; else 503 with the reason: only a restart helps."""
    reason = dead_loop(app)
    return _json({"live": reason is None, "reason": reason}, reason)


def _json(body: dict[str, Any], reason: str | None) -> Page:
    return Page(json.dumps(body).encode(), "application/json; charset=utf-8", 200 if reason is None else 503)
