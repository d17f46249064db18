"""What a start of the development broker is asked for, against what there is; no Kafka is started."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from rasad import broker
from rasad.broker import BrokerError, Node, RunningBroker, lifetime
from rasad.cli import app


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> RunningBroker:
    """A broker of one node that seems to run."""
    found = RunningBroker((Node("127.0.0.1:15000", tmp_path),), tmp_path, 0.0)
    monkeypatch.setattr(lifetime, "status", lambda _directory: found)
    return found


@pytest.mark.parametrize("asked", [{}, {"nodes": 1}, {"port": 15000}, {"port": 15000, "nodes": 1}])
def test_a_broker_that_runs_as_asked_for_is_given_back(
    asked: dict[str, int], running: RunningBroker, tmp_path: Path
) -> None:
    assert broker.start(directory=tmp_path / "broker", port=asked.get("port"), nodes=asked.get("nodes")) is running


@pytest.mark.parametrize("asked", [{"nodes": 3}, {"port": 15001}])
@pytest.mark.usefixtures("running")
def test_a_broker_that_runs_otherwise_is_told(asked: dict[str, int], tmp_path: Path) -> None:
    with pytest.raises(BrokerError, match=r"already runs on 127\.0\.0\.1:15000; stop it with `rasad broker stop`"):
        broker.start(directory=tmp_path / "broker", port=asked.get("port"), nodes=asked.get("nodes"))


@pytest.mark.parametrize(("port", "nodes"), [(0, 1), (65536, 1), (65534, 3)])
def test_a_port_that_there_is_not_is_refused(port: int, nodes: int, tmp_path: Path) -> None:
    with pytest.raises(BrokerError, match=rf"no port {port} for {nodes}"):
        broker.start(directory=tmp_path / "broker", port=port, nodes=nodes)


@pytest.mark.parametrize(("port", "bound"), [("0", "greater than or equal to 1"), ("70000", "less than or equal to")])
def test_the_command_bounds_the_port(port: str, bound: str) -> None:
    shown = CliRunner().invoke(app, ["broker", "start", "--port", port])
    assert shown.exit_code == 2
    assert bound in shown.output
