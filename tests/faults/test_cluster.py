"""The cluster itself: what it survives, and what it refuses to do."""

from __future__ import annotations

import uuid

import pytest
from kafka import KafkaAdminClient

from rasad import broker
from rasad.messages import Record
from rasad.streams.driver import DriverError
from rasad.streams.producing import produce
from tests.faults.site import Site

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.faults,
    pytest.mark.timeout(400),
    # kafka-python 3.0.12 leaves the socket of a refused connection to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
]


def test_it_confirms_records_with_one_node_down_and_none_with_two(site: Site) -> None:
    cluster = site.cluster
    topic = f"test-{uuid.uuid4().hex[:12]}"
    with KafkaAdminClient(bootstrap_servers=cluster.bootstrap) as admin:
        assert len(admin.describe_cluster()["brokers"]) == 3
        admin.create_topics({topic: {"num_partitions": 3, "replication_factor": 3}})
        admin.wait_for_topics([topic])
        (described,) = admin.describe_topics([topic])
    assert all(len(partition["replica_nodes"]) == 3 for partition in described["partitions"])
    records = [Record(value=b"a record", key=str(number).encode()) for number in range(12)]
    first, second, _ = cluster.nodes
    first.kill()
    assert broker.status(cluster.directory) == cluster
    assert produce(site.plain, topic, records).taken == len(records)
    second.kill()
    with pytest.raises(DriverError, match=rf"did not take a record for {topic}"):
        produce(site.plain, topic, records, patience_s=3)
    cluster.recover()
    assert all(node.pid for node in cluster.nodes)
    assert produce(site.plain, topic, records).taken == len(records)
