"""Workers as processes of their own, which can be watched, stopped and killed."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rasad.settings import TopicSettings
from rasad.streams.connection import Connection

_ROOT = Path(__file__).resolve().parents[2]


class WorkerProcess:
    """A running `tests.kafka.worker_process`; its log lines are kept as they come."""

    def __init__(self, argument: dict[str, Any], env: Mapping[str, str] = os.environ) -> None:
        self.lines: list[str] = []
        self._unread: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.kafka.worker_process", json.dumps(argument)],
            cwd=_ROOT,
            env=env,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line)
            self._unread.put(line)

    def wait_for_line(self, *parts: str, timeout_s: float = 30.0) -> dict[str, Any]:
        """The first log line from now on that holds all of `parts`."""
        deadline = time.monotonic() + timeout_s
        while (remaining := deadline - time.monotonic()) > 0:
            try:
                line = self._unread.get(timeout=remaining)
            except queue.Empty:
                break
            if all(part in line for part in parts):
                return dict(json.loads(line))
        raise AssertionError(f"no line with {parts} in {timeout_s} s; the worker said:\n{''.join(self.lines)}")

    def end(self, number: signal.Signals, timeout_s: float = 30.0) -> int:
        """Send a signal; gives the exit status."""
        self.process.send_signal(number)
        return self.exit_status(timeout_s)

    def exit_status(self, timeout_s: float) -> int:
        status = self.process.wait(timeout_s)
        self._reader.join(timeout_s)
        return status


@contextmanager
def worker(
    connection: Connection,
    topics: TopicSettings,
    group: str,
    *,
    seconds_each: float = 0.0,
    env: Mapping[str, str] = os.environ,
    **settings: Any,
) -> Iterator[WorkerProcess]:
    """A worker of `group`, killed at the end of the block if it still runs.

    Of `connection` it is told the addresses; how it signs in there, it has from `env`, as any worker.
    """
    running = WorkerProcess(
        {
            "bootstrap": ",".join(connection.bootstrap_servers),
            "topics": topics.model_dump(),
            "worker": {"group_id": group, **settings},
            "seconds_each": seconds_each,
        },
        env,
    )
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.process.kill()
        running.exit_status(10)
        assert running.process.stderr is not None
        running.process.stderr.close()
