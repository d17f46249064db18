"""What a broker is run from: a Java that is new enough, and Kafka's jars, fetched once with Maven."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import structlog

log = structlog.get_logger(__name__)

KAFKA_VERSION: Final = "4.3.1"
"""The version that the Maven pom names."""
OLDEST_JAVA: Final = 17
"""Kafka 4 brokers run on Java 17 and later."""

Progress = Callable[[str], None]
"""Told in one line what takes long, as it begins."""


class BrokerError(Exception):
    """The broker could not be fetched, started or found. The message says why and what to do about it."""


def log_progress(line: str) -> None:
    """A Progress that logs."""
    log.info(line)


def cache_directory(env: Mapping[str, str] = os.environ) -> Path:
    """Where fetched files are kept: `RASAD_CACHE`, else `rasad` under `XDG_CACHE_HOME` or `~/.cache`."""
    if chosen := env.get("RASAD_CACHE"):
        return Path(chosen).absolute()
    return Path(env.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "rasad"


def pom() -> Path:
    """The Maven pom that lists the broker's jars: in the package once installed, under `deploy/` in a checkout."""
    package = Path(__file__).resolve().parents[1]
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
def exclusive(directory: Path) -> Iterator[None]:
    """Hold `directory` against every other process that asks for it this way; it is made where missing."""
    directory.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def jars(env: Mapping[str, str] = os.environ, progress: Progress = log_progress) -> Path:
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
    with exclusive(cache):
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
            f"mirrors of ~/.m2/settings.xml. Its last lines:\n{last_lines(answer.stdout + answer.stderr)}"
        )
    if not (directory / "lib" / f"kafka_2.13-{KAFKA_VERSION}.jar").is_file():
        raise BrokerError(f"Maven answered without Kafka's own jar; its pom does not name Kafka {KAFKA_VERSION}")


def last_lines(text: str, count: int = 12) -> str:
    """The end of what a program printed, without blank lines and the frames of Java's stack traces."""
    told = (line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("at "))
    return "\n".join(deque(told, maxlen=count))
