"""Whether a cluster lets this client in, and what its refusals mean for whoever runs a command."""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING, Any, Final

from kafka.errors import IllegalSaslStateError, KafkaError, UnsupportedSaslMechanismError
from kafka.protocol.parser import KafkaProtocol
from kafka.protocol.sasl import SaslHandshakeRequest

from rasad.streams.driver import DriverError

if TYPE_CHECKING:
    from rasad.streams.connection import Connection

CONNECT_TIMEOUT_S: Final = 3.0
_TLS_ALERT: Final = 0x15
_ANSWER_BYTES: Final = 4_096


class AccessRefused(DriverError):  # noqa: N818
    """The cluster refuses this client: how it connects, who it says it is, or what it asks for.

    Trying again does not help. The message says what to change.
    """


def refusal(error: BaseException) -> str:
    """What an error that a cluster answered with means, in one line; `error` is of either client library."""
    name = type(error).__name__
    if "Authentication" in name:
        return f"Kafka refuses the credentials ({error}); check the kafka.sasl_* settings"
    if "Authorization" in name:
        return f"Kafka refuses a right ({error}); grant it: `rasad topics acls` prints what each role needs"
    return f"Kafka answered with an error: {error}"


def is_refusal(error: BaseException) -> bool:
    """Whether the cluster refuses credentials or a right, so that trying again does not help."""
    return any(word in type(error).__name__ for word in ("Authentication", "Authorization"))


def greet(connection: Connection) -> None:
    """Ask one broker for its SASL mechanisms, the one question that every listener answers to anybody.

    Raises OSError where none answers, AccessRefused where the first that does wants to be spoken to in another way:
    client libraries take that for a broker that is away, and try again without end.
    """
    problems: list[Exception] = []
    for address in connection.bootstrap_servers:
        try:
            answer = _ask(connection, address)
        except (OSError, KafkaError) as error:
            problems.append(error)
        else:
            _check_sasl(connection, answer, address)
            return
    raise ConnectionError(str(problems[0])) from problems[0]


def _ask(connection: Connection, address: str) -> Any:  # noqa: ANN401
    """A broker's answer to a SASL handshake; `address` is `host:port`, for IPv6 `[host]:port`."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    protocol = KafkaProtocol(client_id="rasad")
    protocol.send_request(SaslHandshakeRequest(mechanism=connection.sasl_mechanism or "PLAIN", version=1))
    with socket.create_connection((host, int(port)), timeout=CONNECT_TIMEOUT_S) as stream:
        if not connection.encrypted:
            return _exchange(stream, protocol)
        context = connection.ssl_context()
        try:
            with context.wrap_socket(stream, server_hostname=host) as tls:
                return _exchange(tls, protocol)
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
            raise  # the broker is going down
        except ssl.SSLError as error:  # in TLS 1.3 a client's certificate is judged only after the handshake
            raise AccessRefused(_tls_problem(error, address)) from error


def _exchange(stream: socket.socket, protocol: KafkaProtocol) -> Any:  # noqa: ANN401
    """Send what `protocol` holds and wait for its answer."""
    stream.sendall(protocol.send_bytes())
    while True:
        received = stream.recv(_ANSWER_BYTES)
        if not received:
            raise ConnectionError("the broker closed the connection without an answer")
        if received[0] == _TLS_ALERT:
            raise AccessRefused("the broker speaks TLS there; set kafka.security_protocol to SSL or SASL_SSL")
        for _, answer in protocol.receive_bytes(received):
            return answer


def _tls_problem(error: ssl.SSLError, address: str) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate of {address} does not hold ({error.verify_message}); check kafka.ssl_cafile"
    reason = (error.reason or str(error)).replace("_", " ").lower()
    if reason == "wrong version number":
        return f"{address} does not speak TLS; set kafka.security_protocol to PLAINTEXT or SASL_PLAINTEXT"
    return f"TLS with {address} failed ({reason}); check kafka.ssl_certfile, kafka.ssl_keyfile and kafka.ssl_cafile"


def _check_sasl(connection: Connection, answer: Any, address: str) -> None:  # noqa: ANN401
    """Compare the listener's answer to a SASL handshake with the settings. Raises AccessRefused."""
    offered = ", ".join(answer.mechanisms)
    signs_in = answer.error_code != IllegalSaslStateError.errno
    if signs_in and not connection.authenticated:
        protocol = "SASL_SSL" if connection.encrypted else "SASL_PLAINTEXT"
        raise AccessRefused(
            f"{address} wants a sign-in; set kafka.security_protocol to {protocol} and kafka.sasl_mechanism to one of "
            f"{offered}"
        )
    if connection.authenticated and not signs_in:
        protocol = "SSL" if connection.encrypted else "PLAINTEXT"
        raise AccessRefused(
            f"{address} takes no sign-in; set kafka.security_protocol to {protocol}, or use another port"
        )
    if connection.authenticated and answer.error_code == UnsupportedSaslMechanismError.errno:
        raise AccessRefused(
            f"{address} does not know {connection.sasl_mechanism}; set kafka.sasl_mechanism to one of {offered}"
        )
