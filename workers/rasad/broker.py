"""A real single-node Apache Kafka on loopback, for development, the demo and the tests.

The jars come from Maven once and stay in a cache folder; everything that one broker writes (configuration, log,
data, its record for other processes) lies in one directory, which `stop` removes.
"""

from __future__ import annotations

import base64
import fcntl
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson
import structlog
from kafka import KafkaAdminClient
from kafka.errors import KafkaError

log = structlog.get_logger(__name__)

KAFKA_VERSION: Final = "4.3.1"
"""The version that the Maven pom names."""
OLDEST_JAVA: Final = 17
"""Kafka 4 brokers run on Java 17 and later."""
START_TIMEOUT_S: Final = 60.0
"""A start takes 5 s on two idle cores; a busy machine takes several times as long."""
STOP_TIMEOUT_S: Final = 10.0
_POLL_S: Final = 0.1
_PORT_ATTEMPTS: Final = 3
_RECORD: Final = "broker.json"
_LOG: Final = "broker.log"

Progress = Callable[[str], None]
"""Told in one line what takes long, as it begins."""


class BrokerError(Exception):
    """The broker could not be fetched, started or found. The message says why and what to do about it."""


@dataclass(frozen=True, slots=True)
class RunningBroker:
    """A broker that answers: where it listens, its process, and the directory that holds all it writes."""

    bootstrap: str
    pid: int
    directory: Path
    started_at: float

    @property
    def log_file(self) -> Path:
        """What the broker printed."""
        return self.directory / _LOG


def _log_progress(line: str) -> None:
    log.info(line)


def cache_directory(env: Mapping[str, str] = os.environ) -> Path:
    """Where fetched files are kept: `RASAD_CACHE`, else `rasad` under `XDG_CACHE_HOME` or `~/.cache`."""
    if chosen := env.get("RASAD_CACHE"):
        return Path(chosen)
    return Path(env.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rasad"


def state_directory(env: Mapping[str, str] = os.environ) -> Path:
    """Where the broker of `rasad broker start` lives: `rasad/broker` under `XDG_STATE_HOME` or `~/.local/state`."""
    return Path(env.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "rasad" / "broker"


def pom() -> Path:
    """The Maven pom that lists the broker's jars: beside the package once installed, under `deploy/` in a checkout."""
    package = Path(__file__).resolve().parent
    for candidate in (package / "kafka_pom.xml", package.parents[1] / "deploy" / "kafka" / "pom.xml"):
        if candidate.is_file():
            return candidate
    raise BrokerError("kafka_pom.xml is missing from the installed package; reinstall rasad")


def java(env: Mapping[str, str] = os.environ) -> str:
    """Path of a Java that is new enough: the one of `JAVA_HOME`, else the first on `PATH`.

    Raises BrokerError where there is none, or only an older one.
    """
    home = env.get("JAVA_HOME")
    found = shutil.which(str(Path(home, "bin", "java")) if home else "java", path=env.get("PATH", os.defpath))
    if found is None:
        where = f"JAVA_HOME={home} has no bin/java" if home else "no java on PATH"
        raise BrokerError(f"{where}; install a Java {OLDEST_JAVA} runtime, or set KAFKA_BOOTSTRAP_SERVERS to a broker")
    answer = subprocess.run([found, "-version"], env=dict(env), capture_output=True, text=True, check=False)  # noqa: S603
    version = re.search(r'version "(?:1\.)?(\d+)', answer.stderr)
    if version is None:
        last = (answer.stderr or answer.stdout).strip().splitlines()[-1:] or ["no output"]
        raise BrokerError(f"{found} -version does not answer ({last[0]}); install a Java {OLDEST_JAVA} runtime")
    if int(version[1]) < OLDEST_JAVA:
        raise BrokerError(
            f"{found} is Java {version[1]} and Kafka {KAFKA_VERSION} needs {OLDEST_JAVA} or later; "
            "install one and put it first on PATH or in JAVA_HOME"
        )
    return found


@contextmanager
def _exclusive(directory: Path) -> Iterator[None]:
    """Hold `directory` against every other process that asks for it this way; it is made where missing."""
    directory.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def jars(env: Mapping[str, str] = os.environ, progress: Progress = _log_progress) -> Path:
    """The folder of the broker's jars, fetched with Maven the first time (54 MB).

    The folder appears whole or not at all, and of two processes that need it at once one fetches.
    Raises BrokerError where there is no Maven or Maven fails.
    """
    cache = cache_directory(env)
    ready = cache / f"kafka-{KAFKA_VERSION}"
    if ready.is_dir():
        return ready
    maven = shutil.which("mvn", path=env.get("PATH", os.defpath))
    if maven is None:
        raise BrokerError(
            f"no mvn on PATH to fetch Kafka {KAFKA_VERSION}; install Maven 3, "
            "or set KAFKA_BOOTSTRAP_SERVERS to a broker"
        )
    with _exclusive(cache):
        if ready.is_dir():
            return ready
        progress(f"fetching Apache Kafka {KAFKA_VERSION} with Maven into {ready} (54 MB, once)")
        with tempfile.TemporaryDirectory(prefix="fetch-", dir=cache) as fetched:
            _fetch(maven, Path(fetched), env)
            Path(fetched, "lib").rename(ready)
    return ready


def _fetch(maven: str, directory: Path, env: Mapping[str, str]) -> None:
    """Copy the pom's jars into `directory/lib`."""
    shutil.copyfile(pom(), directory / "pom.xml")
    command = [maven, "-q", "-B", "dependency:copy-dependencies", f"-DoutputDirectory={directory / 'lib'}"]
    answer = subprocess.run(  # noqa: S603
        command, cwd=directory, env=dict(env), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if answer.returncode != 0:
        raise BrokerError(
            f"Maven could not fetch Kafka {KAFKA_VERSION} (exit {answer.returncode}); check the network and the "
            f"mirrors of ~/.m2/settings.xml. Its last lines:\n{_last_lines(answer.stdout + answer.stderr)}"
        )
    if not (directory / "lib" / f"kafka_2.13-{KAFKA_VERSION}.jar").is_file():
        raise BrokerError(f"Maven answered without Kafka's own jar; its pom does not name Kafka {KAFKA_VERSION}")


def _last_lines(text: str, count: int = 12) -> str:
    """The end of what a program printed, without blank lines and the frames of Java's stack traces."""
    told = (line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("at "))
    return "\n".join(deque(told, maxlen=count))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _check_port_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise BrokerError(
                f"port {port} is taken ({error.strerror}); choose another one, or leave the port out for a free one"
            ) from error


def _properties(directory: Path, port: int, controller_port: int, overrides: Mapping[str, str]) -> str:
    """server.properties of one node that is broker and controller at once."""
    properties = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": str(directory / "data"),
        "auto.create.topics.enable": "false",
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": "4",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "group.initial.rebalance.delay.ms": "0",
        # The default 128 MB buffer of the cleaner is a third of this broker's memory.
        "log.cleaner.dedupe.buffer.size": "16777216",
    }
    return "".join(f"{key}={value}\n" for key, value in {**properties, **overrides}.items())


def _java_command(java_path: str, lib: Path, main: str, arguments: Sequence[str]) -> list[str]:
    return [
        java_path,
        "-Xmx512m",
        "-XX:TieredStopAtLevel=1",
        "-XX:+UseSerialGC",
        "-Djava.awt.headless=true",
        "-Dlog4j2.disableJmx=true",
        "-Dorg.apache.logging.log4j.level=WARN",
        "-cp",
        f"{lib}/*",
        main,
        *arguments,
    ]


def _format(java_path: str, lib: Path, properties: Path, env: Mapping[str, str]) -> None:
    """Make the node's storage ready under a cluster id of its own."""
    # 22 base64 digits; a leading "-" would be taken for an option.
    cluster = "R" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")[1:]
    arguments = ["format", "-t", cluster, "-c", str(properties)]
    answer = subprocess.run(  # noqa: S603
        _java_command(java_path, lib, "kafka.tools.StorageTool", arguments),
        env=dict(env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.returncode != 0:
        raise BrokerError(
            f"Kafka could not format its storage (exit {answer.returncode}):\n"
            f"{_last_lines(answer.stdout + answer.stderr)}"
        )


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


def _is_ours(pid: int, directory: Path) -> bool:
    """Whether `pid` is the broker of `directory` and not a stranger that was given the same number later."""
    return str(directory / "server.properties") in _command_line(pid)


def _reap(pid: int) -> None:
    """Collect the exit status of a child of this process; a no-op for any other."""
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def _end(pid: int, directory: Path) -> None:
    """End the broker's process: politely, then for certain. Its data is thrown away, so nothing is at stake."""
    for number, patience in ((signal.SIGTERM, STOP_TIMEOUT_S), (signal.SIGKILL, STOP_TIMEOUT_S)):
        if not _is_ours(pid, directory):
            break
        with suppress(ProcessLookupError):
            os.kill(pid, number)
        deadline = time.monotonic() + patience
        while _is_ours(pid, directory) and time.monotonic() < deadline:
            time.sleep(_POLL_S)
    _reap(pid)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _answers(bootstrap: str) -> bool:
    """Whether the node counts itself among its brokers and can coordinate a group, which makes it a topic first."""
    try:
        with KafkaAdminClient(bootstrap_servers=bootstrap, bootstrap_timeout_ms=5_000) as admin:
            return bool(admin.describe_cluster()["brokers"]) and bool(admin.describe_groups(["rasad"]))
    except KafkaError:
        return False


class _PortLostError(BrokerError):
    """Another process took a port between its choice and its use."""


def _await_answer(pid: int, directory: Path, port: int, timeout_s: float) -> None:
    """Wait until the broker answers. Raises BrokerError with the end of its log where it ends or takes too long."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if not _is_ours(pid, directory):
            tail = _last_lines((directory / _LOG).read_text(errors="replace"))
            kind = _PortLostError if "Address already in use" in tail else BrokerError
            raise kind(f"Kafka ended while it started. The end of its log:\n{tail}")
        if _listens(port) and _answers(f"127.0.0.1:{port}"):
            return
        time.sleep(_POLL_S)
    tail = _last_lines((directory / _LOG).read_text(errors="replace")) or "(empty)"
    raise BrokerError(f"Kafka did not answer within {timeout_s:.0f} s of its start. The end of its log:\n{tail}")


def _launch(
    directory: Path,
    port: int | None,
    overrides: Mapping[str, str],
    env: Mapping[str, str],
    progress: Progress,
    timeout_s: float,
) -> RunningBroker:
    """Format and start one node in a `directory` that does not exist yet; on failure nothing of it stays."""
    java_path = java(env)
    lib = jars(env, progress)
    chosen = port if port is not None else _free_port()
    _check_port_free(chosen)
    directory.mkdir(parents=True)
    pid: int | None = None
    started = False
    try:
        properties = directory / "server.properties"
        properties.write_text(_properties(directory, chosen, _free_port(), overrides))
        progress(f"starting Apache Kafka {KAFKA_VERSION} on 127.0.0.1:{chosen}")
        _format(java_path, lib, properties, env)
        pid = _spawn(_java_command(java_path, lib, "kafka.Kafka", [str(properties)]), directory / _LOG, env)
        _await_spawned(pid, directory)
        _await_answer(pid, directory, chosen, timeout_s)
        broker = RunningBroker(f"127.0.0.1:{chosen}", pid, directory, time.time())
        _write_record(broker)
        started = True
        return broker
    finally:
        if not started:
            if pid is not None:
                _end(pid, directory)
            shutil.rmtree(directory, ignore_errors=True)


def _await_spawned(pid: int, directory: Path) -> None:
    """Wait until the new process shows its own command line: between fork and exec it still shows ours."""
    deadline = time.monotonic() + 1.0
    while not _is_ours(pid, directory) and time.monotonic() < deadline:
        time.sleep(_POLL_S / 10)


def _write_record(broker: RunningBroker) -> None:
    record = {"bootstrap": broker.bootstrap, "pid": broker.pid, "started_at": broker.started_at}
    (broker.directory / _RECORD).write_bytes(orjson.dumps(record))


def _read_record(directory: Path) -> RunningBroker | None:
    try:
        record = orjson.loads((directory / _RECORD).read_bytes())
        return RunningBroker(record["bootstrap"], record["pid"], directory, record["started_at"])
    except (FileNotFoundError, NotADirectoryError, orjson.JSONDecodeError, KeyError):
        return None


def status(directory: Path | None = None) -> RunningBroker | None:
    """The broker that runs in `directory` (default: state_directory()), whichever process started it."""
    broker = _read_record(directory or state_directory())
    return broker if broker is not None and _is_ours(broker.pid, broker.directory) else None


def start(
    *,
    port: int | None = None,
    directory: Path | None = None,
    overrides: Mapping[str, str] | None = None,
    env: Mapping[str, str] = os.environ,
    progress: Progress = _log_progress,
    timeout_s: float = START_TIMEOUT_S,
) -> RunningBroker:
    """Start a broker and wait until it answers; it goes on after this process ends, until `stop`.

    `port` None takes a free one. `overrides` are lines of server.properties. A broker that already runs in
    `directory` is given back as it is, unless it listens elsewhere than on the `port` asked for.
    Raises BrokerError where it cannot start; then nothing of it stays behind.
    """
    home = directory or state_directory(env)
    with _exclusive(home.parent):
        running = status(home)
        if running is not None:
            if port is not None and running.bootstrap != f"127.0.0.1:{port}":
                raise BrokerError(f"a broker already runs on {running.bootstrap}; stop it with `rasad broker stop`")
            return running
        shutil.rmtree(home, ignore_errors=True)  # what a crashed start or a reboot left
        attempts = _PORT_ATTEMPTS if port is None else 1
        for attempt in range(1, attempts + 1):
            try:
                return _launch(home, port, overrides or {}, env, progress, timeout_s)
            except _PortLostError:
                if attempt == attempts:
                    raise
                progress("the port was taken meanwhile; trying another one")
    raise AssertionError("the loop above returns or raises")


def stop(directory: Path | None = None) -> bool:
    """Stop the broker of `directory` and remove everything that it wrote. False where none ran."""
    home = directory or state_directory()
    if not home.exists():
        return False
    with _exclusive(home.parent):
        running = status(home)
        if running is not None:
            _end(running.pid, home)
        shutil.rmtree(home, ignore_errors=True)
    return running is not None


@contextmanager
def embedded(
    *,
    port: int | None = None,
    overrides: Mapping[str, str] | None = None,
    env: Mapping[str, str] = os.environ,
    progress: Progress = _log_progress,
    timeout_s: float = START_TIMEOUT_S,
) -> Iterator[RunningBroker]:
    """A broker of one's own in a temporary directory, gone at the end of the block."""
    with tempfile.TemporaryDirectory(prefix="rasad-kafka-") as parent:
        home = Path(parent, "broker")
        try:
            yield start(port=port, directory=home, overrides=overrides, env=env, progress=progress, timeout_s=timeout_s)
        finally:
            stop(home)
