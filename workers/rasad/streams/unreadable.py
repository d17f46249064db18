"""Records that Kafka's clients cannot read: of a header whose name is not UTF-8, neither of them gives anything.

Kafka itself takes any bytes for a name. kafka-python 3.0.12 and aiokafka 0.14 decode it before anyone sees the record,
so that it can become no dead letter here: a worker ends at it, at each start anew, until its group is moved past the
record by hand, and so do a replay and whatever else reads the topic. The exactly-once worker finishes all that comes
before. The one on Faust loses hold of what was fetched with the record, so it leaves that unfinished and uncommitted.
"""

from __future__ import annotations

from typing import Self

from kafka import TopicPartition

from rasad.streams.driver import DriverError


class UnreadableRecord(DriverError):  # noqa: N818
    """The client library cannot read a record of the raw topic. The message says where it lies and what to do."""

    @classmethod
    def next(cls, group: str, partition: TopicPartition, offset: int) -> Self:
        """The one at `offset`, or the first after it that is there, all before it being done."""
        return cls(
            f"{_place(partition, offset)}. All before it is done. Have the sender send it anew, stop the workers of "
            f"{group}, move the group past it and start them again: kafka-consumer-groups.sh --group {group} --topic "
            f"{partition.topic}:{partition.partition} --reset-offsets --to-offset {offset + 1} --execute"
        )

    @classmethod
    def in_fetch(cls, group: str, partition: TopicPartition, offset: int) -> Self:
        """The one at `offset`, or the first after it that is there; what was fetched before it may not be done."""
        return cls(
            f"{_place(partition, offset)}. What comes before it may not be done. Stop the workers of {group} and run "
            f"`rasad worker --exactly-once --group {group}` in their place: it does that, ends, and says how to go on"
        )

    @classmethod
    def in_the_way(cls, partition: TopicPartition, offset: int) -> Self:
        """The one at `offset`, or the first after it that is there, for who reads without being a worker."""
        return cls(f"{_place(partition, offset)}. Read up to it, and go on behind it, at offset {offset + 1}")


def _place(partition: TopicPartition, offset: int) -> str:
    return (
        f"{partition.topic}[{partition.partition}]@{offset}: the record here, or the next one that is there, cannot be "
        "read: a header whose name is not UTF-8, or damaged data"
    )
