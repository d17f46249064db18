"""How to reach a Kafka cluster, for both client libraries, and waiting until it answers."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import structlog
import tenacity
from faust.auth import SASLCredentials, SSLCredentials
from kafka import KafkaAdminClient
from kafka.errors import KafkaError, SaslAuthenticationFailedError

from rasad.settings import KafkaSettings

log = structlog.get_logger(__name__)

DEFAULT_PORT: Final = 9092
WAIT_LIMIT_S: Final = 60.0
"""How long commands wait for a broker that does not answer."""
_CONNECT_TIMEOUT_S: Final = 3.0
_BOOTSTRAP_TIMEOUT_MS: Final = 5_000
_LONGEST_PAUSE_S: Final = 5.0

SecurityProtocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]


class BrokerUnavailable(Exception):  # noqa: N818
    """No broker answered within the limit. The message says which were tried, for how long and what to check."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """Addresses (`host:port`) and security settings of a cluster; secrets stay out of its repr."""

    bootstrap_servers: tuple[str, ...]
    security_protocol: SecurityProtocol = "PLAINTEXT"
    sasl_mechanism: str | None = None
    sasl_username: str | None = None
    sasl_password: str | None = field(default=None, repr=False)
    ssl_cafile: str | None = None
    ssl_certfile: str | None = None
    ssl_keyfile: str | None = None
    ssl_key_password: str | None = field(default=None, repr=False)

    @classmethod
    def of(cls, kafka: KafkaSettings, bootstrap: str | None = None) -> Connection:
        """From the settings; `bootstrap` ("host:port,host:port") names the cluster where they do not.

        Raises ValueError where neither does.
        """
        addresses = kafka.bootstrap_servers or (tuple(bootstrap.split(",")) if bootstrap else ())
        if not addresses:
            raise ValueError("no Kafka: set KAFKA_BOOTSTRAP_SERVERS, or start one with `rasad broker start`")
        return cls(
            bootstrap_servers=addresses,
            security_protocol=kafka.security_protocol,
            sasl_mechanism=kafka.sasl_mechanism,
            sasl_username=kafka.sasl_username,
            sasl_password=kafka.sasl_password.get_secret_value() if kafka.sasl_password else None,
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
            arguments |= {
                "sasl_mechanism": self.sasl_mechanism,
                "sasl_plain_username": self.sasl_username,
                "sasl_plain_password": self.sasl_password,
            }
        if self.encrypted:
            arguments["ssl_context"] = self.ssl_context()
        return arguments

    def ssl_context(self) -> ssl.SSLContext:
        """TLS that checks the broker's certificate and host name, with the client's certificate where there is one."""
        context = ssl.create_default_context(cafile=self.ssl_cafile)
        if self.ssl_certfile is not None:
            context.load_cert_chain(self.ssl_certfile, self.ssl_keyfile, self.ssl_key_password)
        return context

    def faust_urls(self) -> list[str]:
        """Broker addresses as Faust's settings take them."""
        return [f"kafka://{address}" for address in self.bootstrap_servers]

    def faust_credentials(self) -> SASLCredentials | SSLCredentials | None:
        """Credentials as Faust's settings take them; none for PLAINTEXT."""
        if self.authenticated:
            return SASLCredentials(
                username=self.sasl_username,
                password=self.sasl_password,
                mechanism=self.sasl_mechanism,
                ssl_context=self.ssl_context() if self.encrypted else None,
            )
        return SSLCredentials(self.ssl_context()) if self.encrypted else None


def unanswered(connection: Connection, limit_s: float) -> BrokerUnavailable:
    """The error of a worker to which no broker answered for `limit_s` seconds."""
    servers = ",".join(connection.bootstrap_servers)
    return BrokerUnavailable(
        f"no answer from Kafka at {servers} for {limit_s:.0f} s; what was not finished will be read again"
    )


def _reachable(address: str) -> bool:
    """Whether something listens at `host:port`, in `[host]:port` form for IPv6."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_TIMEOUT_S):
            return True
    except OSError:
        return False


def _probe(connection: Connection) -> None:
    """Raise where no broker answers a metadata request now."""
    # kafka-python's admin client keeps its I/O thread when it fails to connect, so it comes second.
    if not any(_reachable(address) for address in connection.bootstrap_servers):
        raise ConnectionError("nothing listens there")
    with KafkaAdminClient(**connection.kafka_python(), bootstrap_timeout_ms=_BOOTSTRAP_TIMEOUT_MS) as admin:
        admin.describe_cluster()


def wait_for_broker(connection: Connection, limit_s: float = WAIT_LIMIT_S) -> None:
    """Return once a broker answers; between attempts, wait ever longer and log a line.

    Raises BrokerUnavailable after `limit_s` seconds, and at once where the broker refuses the credentials.
    """
    servers = ",".join(connection.bootstrap_servers)

    def say_waiting(state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        pause = state.next_action.sleep if state.next_action else 0.0
        log.warning("waiting for the broker", bootstrap_servers=servers, error=str(error), retry_in_s=round(pause, 1))

    attempts = tenacity.Retrying(
        wait=tenacity.wait_exponential(multiplier=0.25, max=_LONGEST_PAUSE_S),
        stop=tenacity.stop_after_delay(limit_s),
        retry=tenacity.retry_if_exception_type((KafkaError, OSError))
        & tenacity.retry_if_not_exception_type((SaslAuthenticationFailedError, ssl.SSLCertVerificationError)),
        before_sleep=say_waiting,
        reraise=True,
    )
    try:
        attempts(_probe, connection)
    except (KafkaError, OSError) as error:
        raise BrokerUnavailable(
            f"no answer from Kafka at {servers} within {limit_s:.0f} s ({error}); check KAFKA_BOOTSTRAP_SERVERS and "
            "the security settings, or start a broker with `rasad broker start`"
        ) from error
