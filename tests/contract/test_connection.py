"""One description of a cluster, said to both client libraries."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from rasad.settings import KafkaSettings
from rasad.streams.connection import BrokerUnavailable, Connection, wait_for_broker


def test_plaintext_needs_addresses_alone() -> None:
    connection = Connection.of(KafkaSettings(bootstrap_servers=("one:9092", "two:9093")))
    assert connection.kafka_python() == {
        "bootstrap_servers": ["one:9092", "two:9093"],
        "security_protocol": "PLAINTEXT",
    }
    assert connection.faust_urls() == ["kafka://one:9092", "kafka://two:9093"]
    assert connection.faust_credentials() is None


def test_sasl_reaches_both_libraries_and_no_repr() -> None:
    settings = KafkaSettings(
        bootstrap_servers=("one:9092",),
        security_protocol="SASL_PLAINTEXT",
        sasl_mechanism="SCRAM-SHA-512",
        sasl_username="rasad",
        sasl_password=SecretStr("secret"),
    )
    connection = Connection.of(settings)
    arguments = connection.kafka_python()
    assert arguments["sasl_mechanism"] == "SCRAM-SHA-512"
    assert (arguments["sasl_plain_username"], arguments["sasl_plain_password"]) == ("rasad", "secret")
    credentials = connection.faust_credentials()
    assert (credentials.username, credentials.password) == ("rasad", "secret")
    assert credentials.mechanism.value == "SCRAM-SHA-512"
    assert credentials.protocol.value == "SASL_PLAINTEXT"
    assert "secret" not in repr(connection)


def test_tls_checks_the_brokers_certificate_and_name() -> None:
    connection = Connection(bootstrap_servers=("one:9093",), security_protocol="SSL")
    context = connection.kafka_python()["ssl_context"]
    assert context.check_hostname
    assert context.verify_mode.name == "CERT_REQUIRED"
    assert connection.faust_credentials().protocol.value == "SSL"


def test_the_settings_are_stronger_than_the_embedded_broker() -> None:
    assert Connection.of(KafkaSettings(), "127.0.0.1:5000").bootstrap_servers == ("127.0.0.1:5000",)
    given = KafkaSettings(bootstrap_servers=("one:9092",))
    assert Connection.of(given, "127.0.0.1:5000").bootstrap_servers == ("one:9092",)
    with pytest.raises(ValueError, match=r"set KAFKA_BOOTSTRAP_SERVERS, or start one with `rasad broker start`"):
        Connection.of(KafkaSettings())


def test_a_broker_that_does_not_answer_is_given_up_after_the_limit() -> None:
    nobody = Connection(bootstrap_servers=("127.0.0.1:1",))
    with pytest.raises(BrokerUnavailable, match=r"no answer from Kafka at 127\.0\.0\.1:1 within 0 s"):
        wait_for_broker(nobody, limit_s=0.3)
