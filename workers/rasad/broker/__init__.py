"""A real Apache Kafka on loopback, of one node or a cluster of several, for development, the demo and the tests.

The jars come from Maven once and stay in a cache folder; everything that one broker writes (configuration, logs,
data, its record for other processes) lies in one directory, which `stop` removes.
"""

from rasad.broker.distribution import (
    KAFKA_VERSION,
    OLDEST_JAVA,
    BrokerError,
    Progress,
    cache_directory,
    jars,
    java,
    pom,
)
from rasad.broker.lifetime import RunningBroker, embedded, start, state_directory, status, stop
from rasad.broker.node import START_TIMEOUT_S, Listener, Node, free_ports

__all__ = [
    "KAFKA_VERSION",
    "OLDEST_JAVA",
    "START_TIMEOUT_S",
    "BrokerError",
    "Listener",
    "Node",
    "Progress",
    "RunningBroker",
    "cache_directory",
    "embedded",
    "free_ports",
    "jars",
    "java",
    "pom",
    "start",
    "state_directory",
    "status",
    "stop",
]
