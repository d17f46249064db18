"""One node of a Kafka, broker and controller at once: its configuration, its storage and its process."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson
from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from rasad.broker.distribution import BrokerError, jars, java, last_lines

START_TIMEOUT_S: Final = 60.0
"""For each node. A start takes 5 s on two idle cores; a busy machine takes several times as long."""
STOP_TIMEOUT_S: Final = 30.0
HOST: Final = "127.0.0.1"
PROPERTIES: Final = "server.properties"
_RECORD: Final = "broker.json"
_LOG: Final = "broker.log"
_POLL_S: Final = 0.1
# Below every kernel's range for outgoing connections: a client that keeps trying a node that is down would sooner or
# later be given that node's port as its own, connect to itself, and keep the node from coming back.
_PORTS: Final = range(15_000, 32_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """A listener beside the plain one, such as one with TLS or behind a proxy.

    Node 1 listens at `port` and tells clients to come to `advertised_port` (None: the same); later nodes count on.
    `protocol` is a Kafka security protocol; what else it needs goes into `overrides` as `listener.name.<name>.*`.
    """

    name: str
    port: int
    protocol: str = "PLAINTEXT"
    advertised_port: int | None = None


@dataclass(frozen=True, slots=True)
class Node:
    """A node whose port and data outlive its process, which can be ended and started again at will.

    `bootstrap` is its `host:port`; `directory` holds all that it writes.
    """

    bootstrap: str
    directory: Path

    @property
    def log_file(self) -> Path:
        """What its processes printed."""
        return self.directory / _LOG

    @property
    def pid(self) -> int | None:
        """The process that runs the node now, whichever process started it; None where none does."""
        record = _read_record(self.directory)
        return record.pid if record is not None and self._is_ours(record.pid) else None

    @property
    def started_at(self) -> float:
        """Unix time of its last start, in seconds; 0 where it never started."""
        record = _read_record(self.directory)
        return 0.0 if record is None else record.started_at

    def start(self, env: Mapping[str, str] = os.environ, timeout_s: float = START_TIMEOUT_S) -> None:
        """Start the node on the port and data that it has, and wait until it answers; a no-op where it runs.

        Raises BrokerError where it does not come up.
        """
        if self.pid is None:
            self.spawn(java(env), jars(env), env)
            self.await_answer(timeout_s)

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """End the process as an operator does, with SIGTERM: its partitions move away first. Then for certain."""
        self._signal(signal.SIGTERM)
        if not self._gone_within(timeout_s):
            self.kill()

    def kill(self) -> None:
        """End the process at once, with SIGKILL; returns when it is gone."""
        self._signal(signal.SIGKILL)
        if not self._gone_within(STOP_TIMEOUT_S):
            raise BrokerError(f"process {self.pid} of {self.bootstrap} does not end; look at it with `ps`")

    def pause(self) -> None:
        """Freeze the process, with SIGSTOP: its connections stay open and nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a frozen process go on, with SIGCONT."""
        self._signal(signal.SIGCONT)

    def spawn(self, java_path: str, lib: Path, env: Mapping[str, str]) -> None:
        """Start the process from the jars in `lib`, without waiting for an answer."""
        command = java_command(java_path, lib, "kafka.Kafka", [str(self.directory / PROPERTIES)])
        pid = _spawn(command, self.log_file, env)
        # Between fork and exec the child still shows this process's command line.
        deadline = time.monotonic() + 1.0
        while not self._is_ours(pid) and time.monotonic() < deadline:
            time.sleep(_POLL_S / 10)
        (self.directory / _RECORD).write_bytes(orjson.dumps(_Record(self.bootstrap, pid, time.time())))

    def await_answer(self, timeout_s: float) -> None:
        """Wait until the node answers. Raises BrokerError with the end of its log where it ends or takes too long."""
        port = int(self.bootstrap.rpartition(":")[2])
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if self.pid is None:
                tail = last_lines(self.log_file.read_text(errors="replace"))
                kind = PortLostError if "Address already in use" in tail else BrokerError
                raise kind(f"Kafka ended while it started. The end of its log:\n{tail}")
            if _listens(port) and _answers(self.bootstrap):
                return
            time.sleep(_POLL_S)
        tail = last_lines(self.log_file.read_text(errors="replace")) or "(empty)"
        raise BrokerError(f"Kafka did not answer within {timeout_s:.0f} s of its start. The end of its log:\n{tail}")

    def _is_ours(self, pid: int) -> bool:
        """Whether `pid` is this node and not a stranger that was given the same number later."""
        return str(self.directory / PROPERTIES) in _command_line(pid)

    def _signal(self, number: signal.Signals) -> None:
        pid = self.pid
        if pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _gone_within(self, timeout_s: float) -> bool:
        record = _read_record(self.directory)
        deadline = time.monotonic() + timeout_s
        while self.pid is not None:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_S)
        if record is not None:
            # Collects the exit status where the node is a child of this process.
            with suppress(ChildProcessError):
                os.waitpid(record.pid, os.WNOHANG)
        return True


@dataclass(frozen=True, slots=True)
class _Record:
    """What a node leaves in its directory for other processes."""

    bootstrap: str
    pid: int
    started_at: float


class PortLostError(BrokerError):
    """Another process took a port between its choice and its use."""


def found(directory: Path) -> Node | None:
    """The node that was started in `directory`, running or not."""
    record = _read_record(directory)
    return None if record is None else Node(record.bootstrap, directory)


def _read_record(directory: Path) -> _Record | None:
    try:
        record = orjson.loads((directory / _RECORD).read_bytes())
        return _Record(record["bootstrap"], record["pid"], record["started_at"])
    except (FileNotFoundError, NotADirectoryError, orjson.JSONDecodeError, KeyError):
        return None


def free_ports(count: int = 1) -> int:
    """The first of `count` ports in a row on loopback that nobody listens at. Raises BrokerError."""
    for _ in range(100):
        first = random.SystemRandom().choice(_PORTS)
        if all(_taken(port) is None for port in range(first, first + count)):
            return first
    raise BrokerError(f"no {count} free ports in a row between {_PORTS.start} and {_PORTS.stop}; free some")


def check_port_free(port: int) -> None:
    """Raises BrokerError where somebody listens at `port`."""
    reason = _taken(port)
    if reason is not None:
        raise BrokerError(f"port {port} is taken ({reason}); choose another one, or leave the port out for a free one")


def _taken(port: int) -> str | None:
    """Why `port` cannot be had; None where it can."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            return error.strerror
    return None


def properties(
    node_id: int,
    directory: Path,
    port: int,
    voters: Mapping[int, int],
    listeners: Sequence[Listener],
    overrides: Mapping[str, str],
) -> str:
    """server.properties of one node; `voters` are the controllers' ports by node id, this node's among them."""
    replicas = str(len(voters))
    in_sync = str(min(2, len(voters)))
    step = node_id - 1
    bound = {"PLAINTEXT": port} | {each.name: each.port + step for each in listeners}
    told = {"PLAINTEXT": port} | {each.name: (each.advertised_port or each.port) + step for each in listeners}
    protocols = {"PLAINTEXT": "PLAINTEXT", "CONTROLLER": "PLAINTEXT"} | {each.name: each.protocol for each in listeners}
    lines = {
        "process.roles": "broker,controller",
        "node.id": str(node_id),
        "controller.quorum.voters": ",".join(f"{voter}@{HOST}:{at}" for voter, at in voters.items()),
        "listeners": _addresses(bound | {"CONTROLLER": voters[node_id]}),
        "advertised.listeners": _addresses(told),
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "listener.security.protocol.map": ",".join(f"{name}:{protocol}" for name, protocol in protocols.items()),
        "log.dirs": str(directory / "data"),
        "auto.create.topics.enable": "false",
        "default.replication.factor": replicas,
        "min.insync.replicas": in_sync,
        "offsets.topic.replication.factor": replicas,
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.replication.factor": replicas,
        "transaction.state.log.min.isr": in_sync,
        "transaction.state.log.num.partitions": "4",
        "share.coordinator.state.topic.replication.factor": replicas,
        "share.coordinator.state.topic.min.isr": in_sync,
        "group.initial.rebalance.delay.ms": "0",
        # The default 128 MB buffer of the cleaner is a third of this broker's memory.
        "log.cleaner.dedupe.buffer.size": "16777216",
    }
    return "".join(f"{key}={value}\n" for key, value in {**lines, **overrides}.items())


def _addresses(ports: Mapping[str, int]) -> str:
    return ",".join(f"{name}://{HOST}:{port}" for name, port in ports.items())


def java_command(java_path: str, lib: Path, main: str, arguments: Sequence[str]) -> list[str]:
    """The command line of one of Kafka's programs."""
    return [
        java_path,
        "-Xmx512m",
        "-XX:TieredStopAtLevel=1",
        "-XX:+UseSerialGC",
        # Else a killed process leaves a file behind in the machine's temporary folder.
        "-XX:-UsePerfData",
        "-Djava.awt.headless=true",
        "-Dlog4j2.disableJmx=true",
        "-Dorg.apache.logging.log4j.level=WARN",
        "-cp",
        f"{lib}/*",
        main,
        *arguments,
    ]


def _spawn(command: list[str], log_file: Path, env: Mapping[str, str]) -> int:
    """Start `command` in a process group of its own, its output in `log_file`. Gives its process id.

    Not subprocess.Popen: the broker outlives the command that starts it, and a Popen object warns of that.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    return os.posix_spawn(
        command[0],
        command,
        dict(env),
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log_file), flags, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setpgroup=0,
    )


def _command_line(pid: int) -> str:
    """The command line of a live process; empty where there is none, or only its remains."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
    except FileNotFoundError:
        if Path("/proc/self").exists():
            return ""
    listed = subprocess.run(  # noqa: S603
        ["/bin/ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return listed.stdout


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((HOST, port)) == 0


def _answers(bootstrap: str) -> bool:
    """Whether the node is one of its cluster's brokers and can have a group coordinated, which makes a topic first."""
    try:
        with KafkaAdminClient(bootstrap_servers=bootstrap, bootstrap_timeout_ms=5_000) as admin:
            brokers = {f"{each['host']}:{each['port']}" for each in admin.describe_cluster()["brokers"]}
            return bootstrap in brokers and bool(admin.describe_groups(["rasad"]))
    except KafkaError:
        return False
