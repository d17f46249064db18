"""What a worker tells of itself over HTTP: `/metrics` for Prometheus, `/livez` and `/readyz` for an orchestrator.

Live is a worker whose batch loop makes progress or has nothing to do; one that is not live is to be started again.
Ready is one that the group has given its share of the partitions (none, for a spare member) and whose broker answers.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, get_args
from wsgiref.simple_server import WSGIRequestHandler

import structlog
from prometheus_client import make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer

from rasad import metrics
from rasad.messages import DeadLetterReason
from rasad.settings import WorkerSettings
from rasad.streams.driver import DriverError

log = structlog.get_logger(__name__)

_REQUEST_WITHIN_S: Final = 10.0

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Health:
    """Written by a worker as it goes, read by the HTTP server's threads. Each write replaces one value."""

    def __init__(self, worker: WorkerSettings) -> None:
        # Waiting for a broker is bounded by a setting of its own, and ends the process by itself.
        self._stalled_after_s = worker.stall_s + worker.broker_wait_s
        self._progressed = time.monotonic()
        self._answers = False
        self._assigned = False
        self._lags: frozenset[int] = frozenset()
        for reason in get_args(DeadLetterReason):
            metrics.DEAD_LETTERS.labels(reason=reason)  # 0 before the first one, so that an alarm hears of it

    def progressed(self) -> None:
        """The batch loop finished a batch, or found nothing to do. To be told at least every second while idle."""
        self._progressed = time.monotonic()

    def done(self, reasons: Iterable[str | None]) -> None:
        """A batch is finished; for each record the reason of its dead letter, or None where it was enriched."""
        for reason in reasons:
            if reason is None:
                metrics.ARTICLES.labels(outcome="enriched").inc()
            else:
                metrics.ARTICLES.labels(outcome="dead_letter").inc()
                metrics.DEAD_LETTERS.labels(reason=reason).inc()
        self.progressed()

    def broker(self, *, answers: bool) -> None:
        """Whether a broker answered when it was last asked. To be told every few seconds."""
        self._answers = answers

    def assigned(self) -> None:
        """The group gave this worker its partitions."""
        metrics.REBALANCES.inc()
        self._assigned = True

    def revoked(self) -> None:
        """The group takes partitions back; an assignment will follow."""
        self._assigned = False

    def lags(self, lags: Mapping[int, int]) -> None:
        """How far the worker is behind in each partition that it has, in offsets."""
        for partition, behind in lags.items():
            metrics.LAG.labels(partition=str(partition)).set(behind)
        for partition in self._lags - lags.keys():
            metrics.LAG.remove(str(partition))
        self._lags = frozenset(lags)

    def why_not_live(self) -> str | None:
        """What is wrong with the batch loop; None where nothing is."""
        still_s = time.monotonic() - self._progressed
        if still_s <= self._stalled_after_s:
            return None
        return f"the batch loop has made no progress for {still_s:.0f} s (worker.stall_s and worker.broker_wait_s)"

    def why_not_ready(self) -> str | None:
        """What the worker waits for before it can work; None where it can."""
        if not self._assigned:
            return "the consumer group has assigned no partitions yet"
        if not self._answers:
            return "no broker answers"
        return self.why_not_live()


@contextmanager
def serving(health: Health, worker: WorkerSettings) -> Iterator[None]:
    """Serve `health` and the metrics at `worker.http_host` and `http_port` in a thread; nothing for port 0.

    Raises DriverError where it cannot listen there.
    """
    if not worker.http_port:
        yield
        return
    try:
        server = _Server(worker.http_host, worker.http_port)
    except OSError as error:
        raise DriverError(
            f"worker.http_port = {worker.http_port}: cannot listen on {worker.http_host}:{worker.http_port} "
            f"({error.strerror or error}); choose a free port and an address of this machine (worker.http_host), or 0 "
            "for no HTTP server"
        ) from error
    server.set_app(_application(health))
    thread = threading.Thread(target=server.serve_forever, name="http", daemon=True)
    thread.start()
    log.info("serving /metrics, /livez and /readyz", host=worker.http_host, port=worker.http_port)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(WSGIRequestHandler):
    timeout = _REQUEST_WITHIN_S

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401
        """Log nothing: a probe comes every few seconds."""


class _Server(ThreadingWSGIServer):
    def __init__(self, host: str, port: int) -> None:
        self.address_family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        super().__init__((host, port), _Handler)


def _application(health: Health) -> Application:
    metrics_page: Application = make_wsgi_app()
    checks = {"/livez": health.why_not_live, "/readyz": health.why_not_ready}

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path == "/metrics":
            return metrics_page(environ, start_response)
        if path in checks:
            problem = checks[path]()
            status, body = ("200 OK", "ok") if problem is None else ("503 Service Unavailable", problem)
        else:
            status, body = "404 Not Found", "/metrics, /livez or /readyz"
        start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
        return [f"{body}\n".encode()]

    return application
