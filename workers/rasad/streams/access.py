"""Whether a cluster lets this client in, and what its refusals mean for whoever runs a command."""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING, Any, Final

from kafka.errors import (
    IllegalSaslStateError,
    KafkaError,
    SaslAuthenticationFailedError,
    UnsupportedSaslMechanismError,
)
from kafka.net.sasl import get_sasl_mechanism
from kafka.protocol.parser import KafkaProtocol
from kafka.protocol.sasl import SaslAuthenticateRequest, SaslHandshakeRequest

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
    if "Authentication" in _named(error):
        return f"Kafka refuses the credentials ({error}); check the kafka.sasl_* settings"
    if "Authorization" in _named(error):
        return f"Kafka refuses a right ({error}); grant it: `rasad topics acls` prints what each role needs"
    return f"Kafka answered with an error: {error}"


def is_refusal(error: BaseException) -> bool:
    """Whether the cluster refuses credentials or a right, so that trying again does not help."""
    return any(word in _named(error) for word in ("Authentication", "Authorization"))


def _named(error: BaseException) -> str:
    """The error with its name; kafka-python also wraps one in another that has its name in the text alone."""
    return f"{type(error).__name__}: {error}"


def greet(connection: Connection) -> None:
    """Connect to one broker and sign in, as every client of this connection will.

    Raises OSError where none answers, AccessRefused where the first that does wants something else than what the
    settings say: client libraries take that for a broker that is away, and try again without end. Raises
    CredentialsError where there is no token to sign in with.
    """
    if connection.authenticated and connection.sasl_token is not None:
        connection.sasl_token()
    problems: list[Exception] = []
    for address in connection.bootstrap_servers:
        try:
            _visit(connection, address)
        except (OSError, KafkaError) as error:
            problems.append(error)
        else:
            return
    raise ConnectionError(str(problems[0])) from problems[0]


def _visit(connection: Connection, address: str) -> None:
    """`address` is `host:port`, for IPv6 `[host]:port`."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    if not connection.encrypted:
        with _connected(host, port) as stream:
            _sign_in(connection, stream, address)
        return
    context = connection.ssl_context()
    try:
        with _connected(host, port) as stream, context.wrap_socket(stream, server_hostname=host) as tls:
            _sign_in(connection, tls, address)
    except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
        # Either the broker is going down, or it took the TLS handshake for a request of absurd size.
        with _connected(host, port) as stream:
            _ask(stream, SaslHandshakeRequest(mechanism="PLAIN", version=1))
        raise AccessRefused(_no_tls(address)) from None
    except ssl.SSLError as error:  # in TLS 1.3 a client's certificate is judged only after the handshake
        raise AccessRefused(_tls_problem(error, address)) from error


def _connected(host: str, port: str) -> socket.socket:
    return socket.create_connection((host, int(port)), timeout=CONNECT_TIMEOUT_S)


def _sign_in(connection: Connection, stream: socket.socket, address: str) -> None:
    """Every listener answers a SASL handshake, and one without SASL says so."""
    name = connection.sasl_mechanism or "PLAIN"
    handshake = _ask(stream, SaslHandshakeRequest(mechanism=name, version=1))
    _check_handshake(connection, handshake, address)
    if not connection.authenticated:
        return
    mechanism = get_sasl_mechanism(name)(host=address.rpartition(":")[0], **connection.sasl())
    while not mechanism.is_done():
        answer = _ask(stream, SaslAuthenticateRequest(auth_bytes=mechanism.auth_bytes(), version=1))
        if answer.error_code:
            raise AccessRefused(refusal(SaslAuthenticationFailedError(answer.error_message)))
        try:
            mechanism.receive(answer.auth_bytes)
        except ValueError as error:
            raise AccessRefused(f"{address} does not prove who it is ({error}); check the addresses") from None


def _ask(stream: socket.socket, request: Any) -> Any:  # noqa: ANN401
    """Send a request and wait for its answer."""
    protocol = KafkaProtocol(client_id="rasad")
    protocol.send_request(request)
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
        return _no_tls(address)
    return f"TLS with {address} failed ({reason}); check kafka.ssl_certfile, kafka.ssl_keyfile and kafka.ssl_cafile"


def _no_tls(address: str) -> str:
    return f"{address} does not speak TLS; set kafka.security_protocol to PLAINTEXT or SASL_PLAINTEXT"


def _check_handshake(connection: Connection, answer: Any, address: str) -> None:  # noqa: ANN401
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
