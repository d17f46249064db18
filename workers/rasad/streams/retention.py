"""Where a group goes on whose next records retention has removed before it read them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, TypeVar

import structlog

from rasad import metrics

log = structlog.get_logger(__name__)


class _Partition(Protocol):
    @property
    def topic(self) -> str: ...

    @property
    def partition(self) -> int: ...


Partition = TypeVar("Partition", bound=_Partition)


def first_left(committed: Mapping[Partition, int | None], beginnings: Mapping[Partition, int]) -> dict[Partition, int]:
    """The first offset left of each partition that a group has committed less of, with a line in the log for each.

    `committed` and `beginnings` are offsets by partition; the first, which may have None for nothing, may have more.
    """
    found = {}
    for partition, beginning in beginnings.items():
        offset = committed.get(partition)
        if offset is not None and offset < beginning:
            log.warning(
                "retention removed records before they were read",
                topic=partition.topic,
                partition=partition.partition,
                offset=offset,
                next=beginning,
            )
            metrics.REMOVED.inc(beginning - offset)
            found[partition] = beginning
    return found
