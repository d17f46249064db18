"""Settings: which source wins, where each value came from, and errors that a person can act on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from rasad.settings import Settings, SettingsError, load


@pytest.fixture(autouse=True)
def clean_surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of the machine and no file of the checkout reaches a test."""
    for name in list(os.environ):
        if name.startswith(("RASAD_", "KAFKA_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def origins(**options) -> dict[str, str]:
    return {row.key: row.origin for row in load(**options).rows() if row.origin != "default"}


def failure(**options) -> str:
    with pytest.raises(SettingsError) as caught:
        load(**options)
    message = str(caught.value)
    assert "pydantic" not in message
    assert "Traceback" not in message
    return message


def test_defaults():
    loaded = load()
    assert loaded.settings == Settings()
    assert set(loaded.origins.values()) == {"default"}
    assert loaded.settings.kafka.bootstrap_servers is None
    assert loaded.settings.topics.raw == "news.raw.ar"
    assert loaded.settings.worker.session_timeout_s == 6


def test_settings_are_frozen():
    settings = load().settings
    with pytest.raises(ValidationError):
        settings.worker = settings.worker
    with pytest.raises(ValidationError):
        settings.worker.batch_max = 5


def test_flags_win_over_the_environment_and_that_over_the_file(tmp_path, monkeypatch):
    Path("rasad.toml").write_text("[worker]\nbatch_max = 1\nhttp_port = 1\ngroup_id = 'file'\n")
    monkeypatch.setenv("RASAD_WORKER__BATCH_MAX", "2")
    monkeypatch.setenv("RASAD_WORKER__HTTP_PORT", "2")
    loaded = load(overrides={"worker.batch_max": 3, "worker.group_id": None})
    worker = loaded.settings.worker
    assert (worker.batch_max, worker.http_port, worker.group_id) == (3, 2, "file")
    assert origins(overrides={"worker.batch_max": 3}) == {
        "worker.batch_max": "flag",
        "worker.http_port": "environment RASAD_WORKER__HTTP_PORT",
        "worker.group_id": "file rasad.toml",
    }


def test_the_plain_kafka_variables_are_weaker_than_ours(monkeypatch):
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "a:1, b:2,[::1]:3")
    monkeypatch.setenv("KAFKA_SECURITY_PROTOCOL", "ssl")
    loaded = load()
    assert loaded.settings.kafka.bootstrap_servers == ("a:1", "b:2", "[::1]:3")
    assert loaded.settings.kafka.security_protocol == "SSL"
    assert loaded.origins["kafka.bootstrap_servers"] == "environment KAFKA_BOOTSTRAP_SERVERS"
    monkeypatch.setenv("RASAD_KAFKA__BOOTSTRAP_SERVERS", "c:4")
    assert load().settings.kafka.bootstrap_servers == ("c:4",)


def test_lists_in_the_file_are_arrays_or_commas(tmp_path):
    path = tmp_path / "other.toml"
    path.write_text('[kafka]\nbootstrap_servers = ["a:1", "b:2"]\n')
    assert load(path).settings.kafka.bootstrap_servers == ("a:1", "b:2")
    path.write_text('[kafka]\nbootstrap_servers = "a:1,b:2"\n')
    assert load(path).settings.kafka.bootstrap_servers == ("a:1", "b:2")


def test_an_empty_variable_is_unset(monkeypatch):
    monkeypatch.setenv("RASAD_WORKER__GROUP_ID", "")
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "")
    monkeypatch.setenv("RASAD_CONFIG", "")
    assert origins() == {}


def test_a_variable_of_ours_that_is_no_setting_is_let_be(monkeypatch):
    for name in ("RASAD_SOMETHING", "RASAD_PORT", "RASAD_WORKER_SERVICE_HOST", "RASAD_WORKER_PORT_8080_TCP"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("RASAD_WROKER__BATCH_MAX", "")
    assert origins() == {}


def test_the_environment_names_the_file(tmp_path, monkeypatch):
    path = tmp_path / "named.toml"
    path.write_text("[topics]\npartitions = 9\n")
    monkeypatch.setenv("RASAD_CONFIG", str(path))
    assert load().settings.topics.partitions == 9
    other = tmp_path / "flag.toml"
    other.write_text("[topics]\npartitions = 2\n")
    assert load(other).settings.topics.partitions == 2


def test_secrets_are_masked_everywhere(monkeypatch):
    monkeypatch.setenv("RASAD_KAFKA__SASL_PASSWORD", "hush-hush")
    sign_in = {"security_protocol": "SASL_SSL", "sasl_mechanism": "PLAIN", "sasl_username": "desk"}
    loaded = load(
        overrides={f"kafka.{key}": value for key, value in sign_in.items()} | {"kafka.ssl_key_password": "quiet"}
    )
    assert loaded.settings.kafka.sasl_password is not None
    assert loaded.settings.kafka.sasl_password.get_secret_value() == "hush-hush"
    shown = {row.key: row.value for row in loaded.rows()}
    assert shown["kafka.sasl_password"] == shown["kafka.ssl_key_password"] == '"********"'
    assert "hush" not in repr(loaded) + repr(loaded.rows())
    told = failure(overrides={"kafka.sasl_password": ["hush"], "kafka.security_protocol": "none"})
    assert "hush" not in told
    assert "********" in told


def test_rows_name_every_setting_once():
    rows = load().rows()
    assert len({row.key for row in rows}) == len(rows) > 30
    assert {row.key: row.value for row in rows}["topics.partitions"] == "4"


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        ({"worker.http_port": "80800"}, ["worker.http_port", "80800", "flag", "65535"]),
        ({"worker.session_timeout_s": 2}, ["worker.session_timeout_s = 2", "greater than or equal to 6"]),
        ({"worker.grace_s": "nan"}, ["worker.grace_s", "finite"]),
        ({"worker.batch_max": "many"}, ["worker.batch_max", "many", "integer"]),
        ({"logs.level": "loud"}, ["logs.level", "loud", "'warning'"]),
        ({"kafka.security_protocol": "TLS"}, ["kafka.security_protocol", "TLS", "SASL_SSL"]),
        ({"kafka.bootstrap_servers": "http://x:1"}, ["kafka.bootstrap_servers", "http://x:1", "localhost:9092"]),
        ({"kafka.bootstrap_servers": "x"}, ["host:port"]),
        ({"kafka.bootstrap_servers": "x:99999"}, ["host:port"]),
        ({"kafka.bootstrap_servers": ","}, ["kafka.bootstrap_servers"]),
        ({"kafka.security_protocol": "SASL_SSL"}, ["SASL_SSL", "kafka.sasl_mechanism"]),
        ({"kafka.ssl_cafile": "absent.pem"}, ["kafka.ssl_cafile", "absent.pem", "file"]),
        ({"kafka.sasl_password": "hush"}, ["kafka.sasl_password", "PLAINTEXT does not use it", "SASL_SSL"]),
        ({"kafka.ssl_key_password": "hush"}, ["kafka.ssl_key_password", "PLAINTEXT does not use it", "SASL_SSL"]),
        ({"topics.raw": "أخبار"}, ["topics.raw", "أخبار"]),
        ({"topics.raw": "news.claims"}, ["topics.raw", "topics.claims", "news.claims"]),
        ({"topics.replication_factor": 0}, ["topics.replication_factor = 0"]),
        ({"input.max_bytes": 10**30}, ["input.max_bytes"]),
    ],
)
def test_a_wrong_value_is_told_with_key_value_and_fix(overrides, told):
    message = failure(overrides=overrides)
    assert all(part in message for part in told), message


def test_all_wrong_values_are_told_at_once():
    message = failure(overrides={"worker.http_port": -1, "logs.format": "xml", "topics.partitions": 0})
    assert len(message.splitlines()) == 3


@pytest.mark.parametrize(
    ("toml", "told"),
    [
        (
            "[worker]\nbatch_mx = 1\n",
            "worker.batch_mx (file rasad.toml) is not a setting: did you mean worker.batch_max?",
        ),
        ("bootstrap_servers = 'a:1'\n", "did you mean kafka.bootstrap_servers?"),
        ("[workers]\nbatch_max = 1\n", "did you mean worker.batch_max?"),
        ("[worker]\nqqqq = 1\n", "the keys of worker are group_id, batch_max"),
        ("[qqqq]\nzzzz = 1\n", "the tables are kafka, topics"),
        ("worker = 5\n", "worker (file rasad.toml) is a table of settings"),
        ("[worker\n", "configuration file rasad.toml is not valid TOML"),
        ("[worker]\nbatch_max = 1" + "0" * 5000, "configuration file rasad.toml is not valid TOML"),
        ("[worker]\nbatch_max = 99999999999999999999\n", "worker.batch_max = 99999999999999999999 (file rasad.toml)"),
        ("[worker]\nbatch_max = 2026-01-31\n", "worker.batch_max"),
    ],
)
def test_a_wrong_file_is_told(toml, told):
    Path("rasad.toml").write_text(toml)
    assert told in failure()


def test_a_file_that_is_no_text_is_told():
    Path("rasad.toml").write_bytes(b"\xff\xfe\x00")
    assert "rasad.toml is not valid TOML" in failure()


def test_a_named_file_must_be_there(tmp_path, monkeypatch):
    assert "absent.toml does not exist" in failure(config_file=tmp_path / "absent.toml")
    assert "cannot be read" in failure(config_file=tmp_path)
    monkeypatch.setenv("RASAD_CONFIG", "named.toml")
    assert "named.toml does not exist" in failure()


def test_a_mistyped_variable_of_a_group_is_told(monkeypatch):
    monkeypatch.setenv("RASAD_KAFKA__BOOTSTRAP_SERVER", "a:1")
    monkeypatch.setenv("RASAD_LOGS", "debug")
    message = failure()
    assert "environment RASAD_KAFKA__BOOTSTRAP_SERVER" in message
    assert "did you mean kafka.bootstrap_servers?" in message
    assert "logs (environment RASAD_LOGS) is a table" in message


@pytest.mark.parametrize(
    ("variable", "hint"),
    [
        ("RASAD_WROKER__BATCH_MAX", "did you mean worker.batch_max?"),
        ("RASAD_TOPIC__RAW", "did you mean topics.raw?"),
        ("rasad_topic__raw", "did you mean topics.raw?"),
        ("RASAD__WORKER__BATCH_MAX", "did you mean worker.batch_max?"),
        ("RASAD_QQQQ__ZZZZ", "the tables are kafka, topics"),
    ],
)
def test_a_variable_of_a_mistyped_group_is_told(variable, hint, monkeypatch):
    monkeypatch.setenv(variable, "hush-7")
    message = failure()
    assert f"(environment {variable}) is not a setting: {hint}" in message
    assert "hush" not in message
