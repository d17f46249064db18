"""How to reach a Kafka cluster, for both client libraries, and waiting until it answers."""

from __future__ import annotations

import logging
import ssl
import threading
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, Self

import tenacity
from kafka import KafkaAdminClient
from kafka.errors import KafkaError, SaslAuthenticationFailedError

from rasad.settings import KafkaSettings
from rasad.streams.access import AccessRefused, greet, refusal
from rasad.streams.credentials import AsyncToken, TokenProvider, TokenSource, password, token_source
from rasad.streams.driver import DriverError

if TYPE_CHECKING:
    from faust.auth import OAuthCredentials, SASLCredentials, SSLCredentials

# Of the standard library: these lines are also heard in the processes of subscribers, who may not use structlog.
log = logging.getLogger(__name__)

DEFAULT_PORT: Final = 9092
WAIT_LIMIT_S: Final = 60.0
"""How long commands wait for a broker that does not answer."""
ANSWER_WITHIN_S: Final = 10.0
"""What one answer of a healthy cluster may take, however short the patience with one that is away."""
_BOOTSTRAP_TIMEOUT_MS: Final = 5_000
_LONGEST_PAUSE_S: Final = 5.0
_WATCH_EVERY_S: Final = 2.0
_ANSWER_WITHIN_MS: Final = 5_000

SecurityProtocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]


class BrokerUnavailable(Exception):  # noqa: N818
    """No broker answered within the limit. The message says which were tried, for how long and what to check."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """Addresses (`host:port`) and security settings of a cluster; secrets stay out of its repr.

    `sasl_token` gives the token of OAUTHBEARER, each time that a connection signs in.
    """

    bootstrap_servers: tuple[str, ...]
    security_protocol: SecurityProtocol = "PLAINTEXT"
    sasl_mechanism: str | None = None
    sasl_username: str | None = None
    sasl_password: str | None = field(default=None, repr=False)
    sasl_token: TokenSource | None = field(default=None, repr=False)
    ssl_cafile: str | None = None
    ssl_certfile: str | None = None
    ssl_keyfile: str | None = None
    ssl_key_password: str | None = field(default=None, repr=False)

    @classmethod
    def of(cls, kafka: KafkaSettings, bootstrap: str | None = None) -> Connection:
        """From the settings; `bootstrap` ("host:port,host:port") names the cluster where they do not.

        Raises ValueError where neither does, CredentialsError (which is one) where the password cannot be read.
        """
        addresses = kafka.bootstrap_servers or (tuple(bootstrap.split(",")) if bootstrap else ())
        if not addresses:
            raise ValueError("no Kafka: set KAFKA_BOOTSTRAP_SERVERS, or start one with `rasad broker start`")
        return cls(
            bootstrap_servers=addresses,
            security_protocol=kafka.security_protocol,
            sasl_mechanism=kafka.sasl_mechanism,
            sasl_username=kafka.sasl_username,
            sasl_password=password(kafka),
            sasl_token=token_source(kafka),
            ssl_cafile=str(kafka.ssl_cafile) if kafka.ssl_cafile else None,
            ssl_certfile=str(kafka.ssl_certfile) if kafka.ssl_certfile else None,
            ssl_keyfile=str(kafka.ssl_keyfile) if kafka.ssl_keyfile else None,
            ssl_key_password=kafka.ssl_key_password.get_secret_value() if kafka.ssl_key_password else None,
        )

    @property
    def encrypted(self) -> bool:
        """Whether the connection is TLS."""
        return self.security_protocol in ("SSL", "SASL_SSL")

    @property
    def authenticated(self) -> bool:
        """Whether the client signs in with SASL."""
        return self.security_protocol in ("SASL_PLAINTEXT", "SASL_SSL")

    def kafka_python(self) -> dict[str, Any]:
        """Keyword arguments of any kafka-python client."""
        arguments: dict[str, Any] = {
            "bootstrap_servers": list(self.bootstrap_servers),
            "security_protocol": self.security_protocol,
        }
        if self.authenticated:
            arguments |= self.sasl()
        if self.encrypted:
            arguments["ssl_context"] = self.ssl_context()
        return arguments

    def sasl(self) -> dict[str, Any]:
        """What kafka-python signs in with."""
        if self.sasl_token is not None:
            return {
                "sasl_mechanism": self.sasl_mechanism,
                "sasl_oauth_token_provider": TokenProvider(self.sasl_token),
            }
        return {
            "sasl_mechanism": self.sasl_mechanism,
            "sasl_plain_username": self.sasl_username,
            "sasl_plain_password": self.sasl_password,
        }

    def ssl_context(self) -> ssl.SSLContext:
        """TLS that checks the broker's certificate and host name, with the client's certificate where there is one.

        Raises AccessRefused where a file does not hold what it should.
        """
        try:
            context = ssl.create_default_context(cafile=self.ssl_cafile)
            if self.ssl_certfile is not None:
                # An empty password, where none is set, keeps OpenSSL from asking for one on the terminal.
                context.load_cert_chain(self.ssl_certfile, self.ssl_keyfile, self.ssl_key_password or "")
        except OSError as error:
            raise AccessRefused(
                f"the certificates cannot be used ({error}); kafka.ssl_cafile, kafka.ssl_certfile and "
                "kafka.ssl_keyfile are PEM files, and a key with a password needs kafka.ssl_key_password"
            ) from error
        return context

    def faust_urls(self) -> list[str]:
        """Broker addresses as Faust's settings take them."""
        return [f"kafka://{address}" for address in self.bootstrap_servers]

    def faust_credentials(self) -> SASLCredentials | OAuthCredentials | SSLCredentials | None:
        """Credentials as Faust's settings take them; none for PLAINTEXT."""
        # Faust takes as long to import as all else that a command needs to reach Kafka, and most need no Faust.
        from faust.auth import OAuthCredentials, SASLCredentials, SSLCredentials

        context = self.ssl_context() if self.encrypted else None
        if not self.authenticated:
            return SSLCredentials(context) if context else None
        if self.sasl_token is not None:
            return OAuthCredentials(oauth_cb=AsyncToken(self.sasl_token), ssl_context=context)
        return SASLCredentials(
            username=self.sasl_username,
            password=self.sasl_password,
            mechanism=self.sasl_mechanism,
            ssl_context=context,
        )


def unanswered(connection: Connection, limit_s: float) -> BrokerUnavailable:
    """The error of a worker to which no broker answered for `limit_s` seconds."""
    servers = ",".join(connection.bootstrap_servers)
    return BrokerUnavailable(
        f"no answer from Kafka at {servers} for {limit_s:.0f} s; what was not finished will be read again"
    )


def _admin(connection: Connection) -> KafkaAdminClient:
    """A client that is connected. Raises KafkaError or OSError where no broker answers now, or AccessRefused."""
    # kafka-python's admin client keeps its I/O thread when it fails to connect, so it comes second.
    greet(connection)
    return KafkaAdminClient(
        **connection.kafka_python(), bootstrap_timeout_ms=_BOOTSTRAP_TIMEOUT_MS, request_timeout_ms=_ANSWER_WITHIN_MS
    )


def _probe(connection: Connection) -> None:
    """Raise where no broker answers a metadata request now."""
    with _admin(connection) as admin:
        admin.describe_cluster()


def waiting_for(what: str, limit_s: float, retry: tenacity.retry_base, **told: str) -> tenacity.Retrying:
    """Calls again after the errors of `retry`, for `limit_s` seconds, then raises the last one.

    Between attempts it waits ever longer and logs that it is waiting for `what`, with `told`.
    """

    def say_waiting(state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        pause = state.next_action.sleep if state.next_action else 0.0
        log.warning("waiting for %s", what, extra={**told, "error": str(error), "retry_in_s": round(pause, 1)})

    return tenacity.Retrying(
        wait=tenacity.wait_exponential(multiplier=0.25, max=_LONGEST_PAUSE_S),
        stop=tenacity.stop_after_delay(limit_s),
        retry=retry,
        before_sleep=say_waiting,
        reraise=True,
    )


def wait_for_broker(connection: Connection, limit_s: float = WAIT_LIMIT_S) -> None:
    """Return once a broker answers; between attempts, wait ever longer and log a line.

    Raises BrokerUnavailable after `limit_s` seconds, and at once AccessRefused where the broker refuses this client,
    CredentialsError where there is no token to sign in with.
    """
    servers = ",".join(connection.bootstrap_servers)
    retry = tenacity.retry_if_exception_type((KafkaError, OSError)) & tenacity.retry_if_not_exception_type(
        SaslAuthenticationFailedError
    )
    try:
        waiting_for("the broker", limit_s, retry, bootstrap_servers=servers)(_probe, connection)
    except SaslAuthenticationFailedError as error:
        raise AccessRefused(refusal(error)) from error
    except (KafkaError, OSError) as error:
        raise BrokerUnavailable(
            f"no answer from Kafka at {servers} within {limit_s:.0f} s ({error}); check KAFKA_BOOTSTRAP_SERVERS and "
            "the security settings, or start a broker with `rasad broker start`"
        ) from error


class BrokerWatch:
    """Asks the cluster every other second whether it answers, in a thread and over a connection of its own.

    kafka-python's consumers and producers try again without end and do not say so.
    """

    def __init__(self, connection: Connection, limit_s: float) -> None:
        self._connection = connection
        self._limit_s = limit_s
        self._silent_since: float | None = None
        self._next_line = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="broker watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()

    @property
    def answers(self) -> bool:
        """Whether the cluster answered when it was last asked."""
        return self._silent_since is None

    def check(self) -> None:
        """Log a line while no broker answers, ever more seldom. Raises BrokerUnavailable once the limit is over."""
        since = self._silent_since
        if since is None:
            self._next_line = 0.0
            return
        silent = time.monotonic() - since
        if silent >= self._limit_s:
            raise unanswered(self._connection, self._limit_s)
        if silent >= self._next_line:
            told = {"silent_s": round(silent, 1), "limit_s": self._limit_s}
            log.warning("waiting for the broker", extra=told)
            self._next_line = max(silent * 2, _WATCH_EVERY_S)

    def _watch(self) -> None:
        admin: KafkaAdminClient | None = None
        while not self._ended.wait(_WATCH_EVERY_S):
            asked = time.monotonic()
            try:
                admin = admin or _admin(self._connection)
                admin.describe_cluster()
                self._silent_since = None
            except (KafkaError, OSError, DriverError):
                self._silent_since = self._silent_since or asked
                if admin is not None:
                    admin.close()
                admin = None
        if admin is not None:
            admin.close()
