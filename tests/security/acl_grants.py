"""Granting exactly what `rasad topics acls` prints."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from kafka import KafkaAdminClient
from kafka.admin import ACL, ACLOperation, ACLPermissionType, ACLResourcePatternType, ResourcePattern, ResourceType

from rasad.settings import TopicSettings
from rasad.streams.connection import Connection
from tests.security.secure_broker import USERS

RASAD = Path(sys.executable).parent / "rasad"


def printed(topics: TopicSettings, group: str, *flags: str) -> list[dict[str, Any]]:
    """The ACLs that the command prints as JSON, one user a role."""
    env = {f"RASAD_TOPICS__{key.upper()}": str(value) for key, value in topics.model_dump().items()}
    principals = [part for role in USERS for part in (f"--principal-{role}", f"User:{role}")]
    command = [RASAD, "topics", "acls", *principals, "--group", group, "--json", *flags]
    answer = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in answer.stdout.splitlines()]


def grant(administrator: Connection, topics: TopicSettings, group: str, *, exactly_once: bool) -> None:
    """Let each of the broker's users do what its role needs, and nothing else."""
    acls = [
        ACL(
            principal=acl["principal"],
            host="*",
            operation=ACLOperation[operation],
            permission_type=ACLPermissionType.ALLOW,
            resource_pattern=ResourcePattern(
                ResourceType[acl["resource"]],
                acl["name"],
                ACLResourcePatternType.PREFIXED if acl["prefixed"] else ACLResourcePatternType.LITERAL,
            ),
        )
        for acl in printed(topics, group, "--exactly-once" if exactly_once else "--at-least-once")
        for operation in acl["operations"]
    ]
    with KafkaAdminClient(**administrator.kafka_python()) as admin:
        answer = admin.create_acls(acls)
    assert not answer["failed"], answer["failed"]
