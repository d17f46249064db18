"""The demonstration runs on a broker of its own, whatever the settings of its surroundings."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from rasad import demo

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]

SEEDS = Path(__file__).parents[2] / "seeds"


def test_settings_of_a_cluster_elsewhere_are_left_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rasad.toml").write_text("[topics]\nreplication_factor = 3\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KAFKA_SECURITY_PROTOCOL", "SSL")
    monkeypatch.setenv("RASAD_TOPICS__RAW", "elsewhere.raw")
    said = StringIO()
    demo.run(Console(file=said, width=200), SEEDS / "12-technology-space-garden.json", SEEDS)
    assert "1 events and 0 dead letters from 1 records" in said.getvalue()
