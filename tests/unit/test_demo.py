"""The demonstration is let alone by the settings of its surroundings."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rasad.demo import worker_environment
from rasad.settings import LogSettings, Settings, load

ELSEWHERE = {
    "KAFKA_BOOTSTRAP_SERVERS": "kafka.example:9093",
    "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
    "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
    "RASAD_TOPICS__RAW": "elsewhere.raw",
    "RASAD_CONFIG": "elsewhere.toml",
    "rasad_worker__exactly_once": "true",
}


def test_the_worker_has_no_settings_of_a_cluster_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rasad.toml").write_text("[topics]\nreplication_factor = 3\n")
    monkeypatch.chdir(tmp_path)
    env = worker_environment({"PATH": "/bin", **ELSEWHERE})
    assert env["PATH"] == "/bin"
    for name in list(os.environ):
        monkeypatch.delenv(name)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert load().settings == Settings(logs=LogSettings(level="info", format="json"))
