"""A broker from its start to its end: one node, or a cluster of several that replicate to each other."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rasad.broker.distribution import (
    KAFKA_VERSION,
    BrokerError,
    Progress,
    exclusive,
    jars,
    java,
    last_lines,
    log_progress,
)
from rasad.broker.node import (
    HOST,
    PROPERTIES,
    START_TIMEOUT_S,
    Listener,
    Node,
    PortLostError,
    check_port_free,
    found,
    free_ports,
    java_command,
    properties,
)

_PORT_ATTEMPTS: Final = 3
_LAST_PORT: Final = 65_535


@dataclass(frozen=True, slots=True)
class RunningBroker:
    """A broker that was started: its nodes, and the directory that holds all they write.

    Three nodes keep each record three times and take one while two are in step (`min.insync.replicas=2`).
    """

    nodes: tuple[Node, ...]
    directory: Path
    started_at: float

    @property
    def bootstrap(self) -> str:
        """Where it listens, as `host:port`, several with commas between them."""
        return ",".join(node.bootstrap for node in self.nodes)

    def recover(self, env: Mapping[str, str] = os.environ, timeout_s: float = START_TIMEOUT_S) -> None:
        """Let every frozen node go on and start every one that is down, all at once: alone, none gets a quorum.

        Raises BrokerError where one does not come up within `timeout_s` for each.
        """
        down = [node for node in self.nodes if node.pid is None]
        java_path, lib = java(env), jars(env)
        for node in self.nodes:
            node.resume()
        for node in down:
            node.spawn(java_path, lib, env)
        deadline = time.monotonic() + timeout_s * len(down)
        for node in down:
            node.await_answer(max(0.0, deadline - time.monotonic()))


def state_directory(env: Mapping[str, str] = os.environ) -> Path:
    """Where the broker of `rasad broker start` lives: `rasad/broker` under `XDG_STATE_HOME` or `~/.local/state`."""
    return Path(env.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "rasad" / "broker"


def _nodes(home: Path) -> tuple[Node, ...]:
    """The nodes that were started in `home`: a single one lies there itself, several each in a folder of it."""
    places = [home] if found(home) else sorted(home.glob("node-*"))
    return tuple(node for place in places if (node := found(place)) is not None)


def status(directory: Path | None = None) -> RunningBroker | None:
    """The broker of `directory` (default: state_directory()), whichever process started it, if a node of it runs."""
    home = directory or state_directory()
    nodes = _nodes(home)
    if not any(node.pid for node in nodes):
        return None
    return RunningBroker(nodes, home, min(node.started_at for node in nodes))


def start(
    *,
    port: int | None = None,
    nodes: int | None = None,
    directory: Path | None = None,
    listeners: Sequence[Listener] = (),
    overrides: Mapping[str, str] | None = None,
    env: Mapping[str, str] = os.environ,
    progress: Progress = log_progress,
    timeout_s: float = START_TIMEOUT_S,
) -> RunningBroker:
    """Start a broker and wait until it answers; it goes on after this process ends, until `stop`.

    `port` is that of the first node, further ones take the next; None takes free ones. `nodes` None starts one.
    `overrides` are lines of server.properties; `timeout_s` is for each node. A broker that already runs in `directory`
    is given back as it is, unless it listens elsewhere than on the `port` or has another number of `nodes` than asked
    for. Raises BrokerError where it cannot start; then nothing of it stays behind.
    """
    count = 1 if nodes is None else nodes
    if port is not None and not 1 <= port <= _LAST_PORT + 1 - count:
        raise BrokerError(f"no port {port} for {count} in a row: choose one from 1 to {_LAST_PORT + 1 - count}")
    home = directory or state_directory(env)
    with exclusive(home.parent):
        running = status(home)
        if running is not None:
            if (port is not None and running.nodes[0].bootstrap != f"{HOST}:{port}") or (
                nodes is not None and nodes != len(running.nodes)
            ):
                raise BrokerError(f"a broker already runs on {running.bootstrap}; stop it with `rasad broker stop`")
            return running
        shutil.rmtree(home, ignore_errors=True)  # what a crashed start or a reboot left
        attempts = _PORT_ATTEMPTS if port is None else 1
        for attempt in range(1, attempts + 1):
            try:
                return _launch(home, port, count, listeners, overrides or {}, env, progress, timeout_s)
            except PortLostError:
                if attempt == attempts:
                    raise
                progress("the port was taken meanwhile; trying another one")
    raise AssertionError("the loop above returns or raises")


def _launch(
    home: Path,
    port: int | None,
    count: int,
    listeners: Sequence[Listener],
    overrides: Mapping[str, str],
    env: Mapping[str, str],
    progress: Progress,
    timeout_s: float,
) -> RunningBroker:
    """Format and start the nodes in a `home` that does not exist yet; on failure nothing of it stays."""
    java_path, lib = java(env), jars(env, progress)
    first = port if port is not None else free_ports(count)
    for each in range(first, first + count):
        check_port_free(each)
    controllers = free_ports(count)
    voters = {number: controllers + number - 1 for number in range(1, count + 1)}
    nodes = tuple(
        Node(f"{HOST}:{first + number - 1}", home if count == 1 else home / f"node-{number}") for number in voters
    )
    progress(f"starting Apache Kafka {KAFKA_VERSION} on {', '.join(node.bootstrap for node in nodes)}")
    with ExitStack() as undo:
        undo.callback(_remove, home, nodes)
        for number, node in enumerate(nodes, start=1):
            node.directory.mkdir(parents=True)
            text = properties(number, node.directory, first + number - 1, voters, listeners, overrides)
            (node.directory / PROPERTIES).write_text(text)
        _format(nodes, java_path, lib, env)
        for node in nodes:
            node.spawn(java_path, lib, env)
        deadline = time.monotonic() + timeout_s * count
        for node in nodes:
            node.await_answer(max(0.0, deadline - time.monotonic()))
        undo.pop_all()
    return RunningBroker(nodes, home, min(node.started_at for node in nodes))


def _format(nodes: Sequence[Node], java_path: str, lib: Path, env: Mapping[str, str]) -> None:
    """Make the storage of all nodes ready, at once, under one cluster id of their own."""
    # 22 base64 digits; a leading "-" would be taken for an option.
    cluster = "R" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")[1:]
    command = java_command(java_path, lib, "kafka.tools.StorageTool", ["format", "-t", cluster, "-c"])
    running = [
        subprocess.Popen(  # noqa: S603
            [*command, str(node.directory / PROPERTIES)],
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for node in nodes
    ]
    said = [process.communicate()[0] for process in running]
    for process, text in zip(running, said, strict=True):
        if process.returncode != 0:
            raise BrokerError(f"Kafka could not format its storage (exit {process.returncode}):\n{last_lines(text)}")


def stop(directory: Path | None = None) -> bool:
    """Stop the broker of `directory` and remove everything that it wrote. False where none ran."""
    home = directory or state_directory()
    if not home.exists():
        return False
    with exclusive(home.parent):
        running = status(home)
        _remove(home, _nodes(home))
    return running is not None


def _remove(home: Path, nodes: Sequence[Node]) -> None:
    """End the nodes at once, for their data is thrown away, and remove `home`."""
    for node in nodes:
        node.kill()
    shutil.rmtree(home, ignore_errors=True)


@contextmanager
def embedded(
    *,
    port: int | None = None,
    nodes: int = 1,
    listeners: Sequence[Listener] = (),
    overrides: Mapping[str, str] | None = None,
    env: Mapping[str, str] = os.environ,
    progress: Progress = log_progress,
    timeout_s: float = START_TIMEOUT_S,
) -> Iterator[RunningBroker]:
    """A broker of one's own in a temporary directory, gone at the end of the block. The arguments are those of `start`.

    Its `nodes` can be ended, frozen and started again on the same port and data.
    """
    with tempfile.TemporaryDirectory(prefix="rasad-kafka-") as parent:
        home = Path(parent, "broker")
        try:
            yield start(
                port=port,
                nodes=nodes,
                directory=home,
                listeners=listeners,
                overrides=overrides,
                env=env,
                progress=progress,
                timeout_s=timeout_s,
            )
        finally:
            stop(home)
