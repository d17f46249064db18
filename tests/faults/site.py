"""The cluster that faults are injected into, and those of its faults that take more than one call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from kafka import KafkaAdminClient, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType

from rasad import broker
from rasad.broker import Listener, Node, RunningBroker
from rasad.streams.connection import Connection
from tests.faults.proxy import Proxy

NODES = 3
PREFERRED = 0
"""The election that gives each partition back to the first of its replicas."""


@dataclass(frozen=True, slots=True)
class Site:
    """Three nodes; `plain` goes straight to them, `through` by a proxy in front of each."""

    cluster: RunningBroker
    proxies: tuple[Proxy, ...]

    @property
    def plain(self) -> Connection:
        return Connection(bootstrap_servers=tuple(node.bootstrap for node in self.cluster.nodes))

    @property
    def through(self) -> Connection:
        return Connection(bootstrap_servers=tuple(f"127.0.0.1:{proxy.port}" for proxy in self.proxies))

    def leader(self, topic: str, partition: int = 0) -> Node:
        """The node that leads a partition now."""
        with KafkaAdminClient(**self.plain.kafka_python()) as admin:
            (described,) = admin.describe_topics([topic])
        leaders = {each["partition_index"]: each["leader_id"] for each in described["partitions"]}
        return self.cluster.nodes[leaders[partition] - 1]

    def transaction_coordinator(self, group: str) -> Node:
        """The node that coordinates the transactions of a worker of `group`."""
        with KafkaAdminClient(**self.plain.kafka_python()) as admin:
            listed = admin.list_transactions()
        (node_id,) = {node_id for node_id, all_ in listed.items() for each in all_ if group in each.transactional_id}
        return self.cluster.nodes[node_id - 1]

    def move_leaders(self, topics: Sequence[str]) -> None:
        """Make the next replica of each partition the preferred one, and then the leader."""
        with KafkaAdminClient(**self.plain.kafka_python()) as admin:
            replicas = {
                TopicPartition(topic["name"], each["partition_index"]): each["replica_nodes"]
                for topic in admin.describe_topics(list(topics))
                for each in topic["partitions"]
            }
            admin.alter_partition_reassignments({place: [*rest, first] for place, (first, *rest) in replicas.items()})
            admin.elect_leaders(PREFERRED, list(topics), raise_errors=False)

    def require_replicas(self, topics: Sequence[str], count: int) -> None:
        """How many replicas must be in step before a record of `topics` is taken; more than there are refuses all."""
        self.configure(topics, {"min.insync.replicas": str(count)})

    def configure(self, topics: Sequence[str], settings: Mapping[str, str]) -> None:
        """Change settings of topics, which hold from the next record on."""
        with KafkaAdminClient(**self.plain.kafka_python()) as admin:
            admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, dict(settings)) for name in topics])

    def heal(self) -> None:
        """Bring back every node and every connection."""
        for proxy in self.proxies:
            proxy.mend()
        self.cluster.recover()


@contextmanager
def running_site() -> Iterator[Site]:
    """A cluster of one's own with its proxies."""
    first = broker.free_ports(2 * NODES)
    listener = Listener(name="PROXIED", port=first, advertised_port=first + NODES)
    # A killed node's partitions get other leaders after this, and after 9 s by default.
    overrides = {"broker.session.timeout.ms": "4000", "broker.heartbeat.interval.ms": "1000"}
    with broker.embedded(nodes=NODES, listeners=[listener], overrides=overrides) as cluster, ExitStack() as stack:
        proxies = tuple(
            stack.enter_context(Proxy(first + NODES + number, target=first + number)) for number in range(NODES)
        )
        yield Site(cluster, proxies)
