"""The files under deploy/ name settings, commands and ports that exist."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from rasad.broker import KAFKA_VERSION
from rasad.cli import app
from rasad.settings import KafkaSettings, Settings

DEPLOY = Path(__file__).parents[2] / "deploy"
MANIFESTS = sorted(DEPLOY.glob("kubernetes/*.yaml"))
LOADING_S = 30
"""What imports, the last attempt to reach a broker and the models take together, on a busy node."""


def documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text()))


def containers() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every container that runs Rasad, by the file that it stands in."""
    for path in MANIFESTS:
        for document in documents(path):
            pod = document.get("spec", {}).get("template", {}).get("spec", {}) if document["kind"] != "Service" else {}
            yield from ((path.name, container) for container in pod.get("containers", []))
    (compose,) = documents(DEPLOY / "compose" / "compose.yaml")
    for name, service in compose["services"].items():
        if service["image"] == "rasad":
            variables = [{"name": key} for key in service["environment"]]
            yield f"compose {name}", {"args": service.get("command", ["worker"]), "env": variables}


def variables() -> set[str]:
    named = {variable["name"] for _, container in containers() for variable in container.get("env", [])}
    maps = [each for path in MANIFESTS for each in documents(path) if each["kind"] == "ConfigMap"]
    return named | {key for each in maps for key in each["data"]}


def test_every_variable_is_a_setting() -> None:
    known = {f"KAFKA_{key.upper()}" for key in KafkaSettings.model_fields}
    for group, field in Settings.model_fields.items():
        assert field.annotation is not None
        known |= {f"RASAD_{group.upper()}__{key.upper()}" for key in field.annotation.model_fields}  # type: ignore[attr-defined]
    assert variables() - known == set()


@pytest.mark.parametrize(
    ("place", "container"), list(containers()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_every_command_exists(place: str, container: dict[str, Any]) -> None:
    command: Any = typer.main.get_command(app)
    for word in container["args"]:
        assert word in command.commands
        command = command.commands[word]


def test_kustomization_names_every_manifest() -> None:
    (kustomization,) = documents(DEPLOY / "kubernetes" / "kustomization.yaml")
    assert sorted([*kustomization["resources"], "kustomization.yaml"]) == [path.name for path in MANIFESTS]


def test_pods_outlive_the_grace_period_and_are_probed_on_their_port() -> None:
    (worker,) = (each for each in documents(DEPLOY / "kubernetes" / "worker.yaml") if each["kind"] == "StatefulSet")
    (settings,) = documents(DEPLOY / "kubernetes" / "settings.yaml")
    pod = worker["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] > Settings().worker.grace_s
    (container,) = pod["containers"]
    assert str(container["ports"][0]["containerPort"]) == settings["data"]["RASAD_WORKER__HTTP_PORT"]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["port"] == container["ports"][0]["name"]


def test_a_pod_that_waits_for_the_broker_is_let_live() -> None:
    (worker,) = (each for each in documents(DEPLOY / "kubernetes" / "worker.yaml") if each["kind"] == "StatefulSet")
    (settings,) = documents(DEPLOY / "kubernetes" / "settings.yaml")
    waits_s = float(settings["data"].get("RASAD_WORKER__BROKER_WAIT_S", Settings().worker.broker_wait_s))
    (container,) = worker["spec"]["template"]["spec"]["containers"]
    startup = container["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= waits_s + LOADING_S


def test_compose_runs_the_broker_that_the_tests_run() -> None:
    (compose,) = documents(DEPLOY / "compose" / "compose.yaml")
    assert compose["services"]["kafka"]["image"] == f"apache/kafka:{KAFKA_VERSION}"
