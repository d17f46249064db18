"""Every way of signing in, with both client libraries, and what is said at once where one does not work."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth

from rasad.settings import KafkaSettings
from rasad.streams.access import AccessRefused
from rasad.streams.connection import Connection, wait_for_broker
from rasad.streams.credentials import CredentialsError
from tests.security.secure_broker import MECHANISMS, PASSWORD, SecureBroker

pytestmark = [
    pytest.mark.kafka,
    # kafka-python 3.0.12 leaves the socket of a failed connection to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
]


def connection(settings: Mapping[str, str]) -> Connection:
    return Connection.of(KafkaSettings.model_validate(settings))


def sign_in_with_both_libraries(to: Connection) -> None:
    wait_for_broker(to, limit_s=30)

    async def with_aiokafka() -> None:
        producer = AIOKafkaProducer(
            bootstrap_servers=list(to.bootstrap_servers), **credentials_to_aiokafka_auth(to.faust_credentials())
        )
        try:
            await producer.start()
        finally:
            await producer.stop()

    asyncio.run(with_aiokafka())


@pytest.mark.parametrize("tls", [True, False], ids=["TLS", "plaintext"])
@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_sasl(secure: SecureBroker, mechanism: str, tls: bool) -> None:
    sign_in_with_both_libraries(connection(secure.settings("worker", mechanism, tls=tls)))


def test_a_certificate_alone(secure: SecureBroker) -> None:
    sign_in_with_both_libraries(connection(secure.certificate_settings()))


def test_a_password_from_a_file_and_a_token_from_a_command(secure: SecureBroker, tmp_path: Path) -> None:
    held = tmp_path / "password"
    held.write_text(f"{PASSWORD}\n")
    settings = {**secure.settings("worker"), "sasl_password_file": str(held)}
    del settings["sasl_password"]
    sign_in_with_both_libraries(connection(settings))
    settings = secure.settings("worker", "OAUTHBEARER", tls=False)
    settings["sasl_oauth_token_command"] = f"cat {settings.pop('sasl_oauth_token_file')}"
    sign_in_with_both_libraries(connection(settings))


def refused(settings: Mapping[str, str]) -> str:
    """What is said of a connection that is refused; it is said long before the patience is over."""
    begun = time.monotonic()
    with pytest.raises(AccessRefused) as caught:
        wait_for_broker(connection(settings), limit_s=600)
    assert time.monotonic() - begun < 60
    message = str(caught.value)
    assert "\n" not in message
    assert PASSWORD not in message
    return message


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN"])
def test_a_wrong_password(secure: SecureBroker, mechanism: str) -> None:
    message = refused({**secure.settings("worker", mechanism), "sasl_password": "guessed"})
    assert "refuses the credentials" in message
    assert "kafka.sasl_*" in message
    assert "guessed" not in message


def test_a_token_that_is_none(secure: SecureBroker) -> None:
    settings = secure.settings("worker", "OAUTHBEARER")
    Path(settings["sasl_oauth_token_file"]).write_text("not-a-token\n")
    message = refused(settings)
    assert "refuses the credentials" in message
    assert "not-a-token" not in message


def test_settings_that_do_not_fit_the_listener(secure: SecureBroker) -> None:
    plain, tls, signed = {"bootstrap_servers": secure.tls}, secure.certificate_settings(), secure.settings("worker")
    assert "set kafka.security_protocol to SSL" in refused(plain)
    assert "set kafka.security_protocol to SASL_SSL" in refused({**tls, "bootstrap_servers": secure.sasl_tls})
    assert "set kafka.security_protocol to SASL_PLAINTEXT" in refused({"bootstrap_servers": secure.sasl})
    assert "does not speak TLS" in refused({**tls, "bootstrap_servers": secure.plain})
    assert "takes no sign-in" in refused({**signed, "bootstrap_servers": secure.tls})


def test_certificates_that_do_not_hold(secure: SecureBroker) -> None:
    settings, files = secure.certificate_settings(), secure.files
    assert "unable to get local issuer" in refused({**settings, "ssl_cafile": str(files / "stranger-ca.pem")})
    stranger = {"ssl_certfile": str(files / "stranger.pem"), "ssl_keyfile": str(files / "stranger.key")}
    assert "certificate unknown" in refused({**settings, **stranger})
    without = {key: value for key, value in settings.items() if key not in stranger}
    assert "check kafka.ssl_certfile" in refused(without)
    assert "cannot be used" in refused({**settings, "ssl_keyfile": str(files / "stranger.key")})
    assert "cannot be used" in refused({**settings, "ssl_cafile": str(files / "client.key")})


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (f"{sys.executable} -c 'import sys; print(\"topsecret\"); sys.exit(3)'", "exit code 3"),
        ("no-such-command-anywhere", "cannot be run"),
        ("'open quote", "cannot be run"),
        ("true", "no token alone"),
        ("printf 'topsecret\\nand more'", "no token alone"),
    ],
)
def test_a_token_command_that_fails(secure: SecureBroker, command: str, said: str) -> None:
    settings = secure.settings("worker", "OAUTHBEARER", tls=False)
    del settings["sasl_oauth_token_file"]
    settings["sasl_oauth_token_command"] = command
    with pytest.raises(CredentialsError, match=r"run it by hand") as caught:
        wait_for_broker(connection(settings), limit_s=600)
    assert said in str(caught.value)
    assert "topsecret\n" not in str(caught.value)


def test_files_without_a_secret(secure: SecureBroker, tmp_path: Path) -> None:
    empty, binary = tmp_path / "empty", tmp_path / "binary"
    empty.write_text("\n")
    binary.write_bytes(b"\xff\xfe\x00")
    for path, said in ((empty, "empty first line"), (binary, "not UTF-8")):
        settings = {**secure.settings("worker"), "sasl_password_file": str(path)}
        del settings["sasl_password"]
        with pytest.raises(CredentialsError, match=rf"sasl_password_file.*{said}"):
            connection(settings)
