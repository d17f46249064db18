"""What a client signs in with, kept out of logs, and asked for anew where it expires."""

from __future__ import annotations

import asyncio
import shlex
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from aiokafka.abc import AbstractTokenProvider as AsyncTokenProvider
from aiokafka.errors import KafkaConnectionError as AsyncConnectionError
from kafka.errors import KafkaConnectionError
from kafka.net.sasl.oauth import AbstractTokenProvider

from rasad.settings import KafkaSettings
from rasad.streams.driver import DriverError

COMMAND_TIMEOUT_S: Final = 30.0
"""How long a token command may take."""
_KEPT_S: Final = 10.0
# A client signs in on one connection a broker, all at about the same time: one run of the command serves them.


class CredentialsError(DriverError, ValueError):
    """A password or a token cannot be had. The message names the setting and never holds what was read."""


class Secret(str):
    """A string whose repr is a mask: client libraries log the repr of their whole configuration at level debug."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'********'"


def password(kafka: KafkaSettings) -> Secret | None:
    """The password of the settings, or that of their file without the line end. Raises CredentialsError."""
    if kafka.sasl_password is not None:
        return Secret(kafka.sasl_password.get_secret_value())
    if kafka.sasl_password_file is not None:
        return _first_line(kafka.sasl_password_file, "kafka.sasl_password_file")
    return None


TokenSource = Callable[[], Secret]
"""Gives the token to sign in with now. Raises CredentialsError."""


def token_source(kafka: KafkaSettings) -> TokenSource | None:
    """Where the settings say that an OAuth token comes from; None where they name no source."""
    if kafka.sasl_oauth_token_file is not None:
        path = kafka.sasl_oauth_token_file
        return lambda: _first_line(path, "kafka.sasl_oauth_token_file")
    if kafka.sasl_oauth_token_command is not None:
        return _Command(kafka.sasl_oauth_token_command)
    return None


def _first_line(path: Path, setting: str) -> Secret:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise CredentialsError(f"{setting} = {path} cannot be read ({reason}); put the secret alone into it") from None
    if not lines or not lines[0].strip():
        raise CredentialsError(f"{setting} = {path} has an empty first line; put the secret alone into it")
    return Secret(lines[0].strip())


class _Command:
    """A TokenSource that runs a command, without a shell, and takes its standard output."""

    def __init__(self, command: str) -> None:
        self._command = command
        self._lock = threading.Lock()
        self._token: Secret | None = None
        self._until = 0.0

    def __call__(self) -> Secret:
        with self._lock:
            if self._token is None or time.monotonic() >= self._until:
                self._token = self._run()
                self._until = time.monotonic() + _KEPT_S
            return self._token

    def _run(self) -> Secret:
        setting = f"kafka.sasl_oauth_token_command = {self._command}"
        try:
            answer = subprocess.run(  # noqa: S603
                shlex.split(self._command),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=COMMAND_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise CredentialsError(f"{setting} took more than {COMMAND_TIMEOUT_S:.0f} s; run it by hand") from None
        except (OSError, ValueError) as error:  # not found, not executable; an open quote
            raise CredentialsError(f"{setting} cannot be run ({error}); run it by hand") from None
        token = answer.stdout.strip()
        if answer.returncode != 0 or not token or not token.isprintable():
            # What it printed is not quoted: it may hold the token.
            what = f"exit code {answer.returncode}" if answer.returncode else "no token alone on its standard output"
            raise CredentialsError(f"{setting} ended with {what}; run it by hand")
        return Secret(token)


class TokenProvider(AbstractTokenProvider):  # type: ignore[misc]
    """A TokenSource as kafka-python asks for it.

    Where there is no token, that is a failed connection to it, which it makes again: of other errors its background
    tasks die, and it reads on from nowhere.
    """

    def __init__(self, source: TokenSource) -> None:
        super().__init__()
        self._source = source

    def token(self) -> str:
        """The token to sign in with now."""
        try:
            return self._source()
        except CredentialsError as error:
            raise KafkaConnectionError(str(error)) from error


class AsyncToken(AsyncTokenProvider):  # type: ignore[misc]
    """A TokenSource as aiokafka asks for it, within its event loop; see TokenProvider for where there is none."""

    def __init__(self, source: TokenSource) -> None:
        super().__init__()
        self._source = source

    async def token(self) -> str:
        """The token to sign in with now."""
        try:
            return await asyncio.to_thread(self._source)
        except CredentialsError as error:
            raise AsyncConnectionError(str(error)) from error
