"""The cluster itself: what it survives, and what it refuses to do."""

from __future__ import annotations

import uuid

import pytest
from kafka import KafkaAdminClient, KafkaProducer
from kafka.errors import KafkaError

from rasad import broker
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
    first, second, _ = cluster.nodes
    first.kill()
    assert broker.status(cluster.directory) == cluster
    with KafkaProducer(bootstrap_servers=cluster.bootstrap.split(","), acks="all") as producer:
        for partition in range(3):
            producer.send(topic, value=b"with two of three", partition=partition).get(60)
    second.kill()
    with KafkaProducer(
        bootstrap_servers=cluster.bootstrap.split(","), acks="all", delivery_timeout_ms=3_000, request_timeout_ms=2_000
    ) as producer:
        answers = [producer.send(topic, value=b"with one of three", partition=partition) for partition in range(3)]
        for answer in answers:
            # The client's own expiry needs a leader to send to; waiting longer would tell nothing more.
            with pytest.raises(KafkaError):
                answer.get(4)
    cluster.recover()
    assert all(node.pid for node in cluster.nodes)
