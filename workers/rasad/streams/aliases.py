"""Topics that stand in for others: after a cutover, readers and workers who ask for a topic are led to a replay's.

An alias is a record of a compacted topic under the name that it stands for. The name that everyone has configured
stays; `resolve` says where it leads today.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import tenacity
from kafka.errors import KafkaError

from rasad.messages import adapter, from_bytes
from rasad.settings import TopicSettings
from rasad.streams.access import is_refusal
from rasad.streams.connection import BrokerUnavailable, Connection, unanswered, waiting_for
from rasad.streams.driver import DriverError
from rasad.streams.publication import Publication
from rasad.streams.tailing import Tail
from rasad.streams.topics import missing

ALIASED: Final = ("enriched", "entities", "stances")
"""The outputs that a cutover moves. Dead letters stay where their redrives look for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alias:
    """`topic` stands in for `name` since replay `replay` was cut over to; while it is being so, `name` itself does.

    `group` are the workers that write to it now. `boundary` is the offset of each partition of the raw topic at which
    the replay ended and they went on; `left` is where they had stood, so up to where `name` itself was written.
    """

    name: str
    topic: str
    replay: str
    group: str
    boundary: Mapping[int, int]
    left: Mapping[int, int]

    def publication(self, topics: TopicSettings) -> Publication:
        """Its record on the aliases topic."""
        return Publication(
            topic=topics.aliases, key=self.name.encode(), value=adapter(Alias).dump_json(self), headers=()
        )


def removal(name: str, topics: TopicSettings) -> Publication:
    """The record that takes an alias away."""
    return Publication(topic=topics.aliases, key=name.encode(), value=None, headers=())


def aliases(connection: Connection, topic: str = TopicSettings().aliases) -> dict[str, Alias]:
    """Every alias that holds, by the name it stands for; `topic` is where they are written."""
    if missing(connection, [topic]):
        return {}
    with Tail(connection, topic, "beginning") as tail:
        latest = {record.key or b"": record.value for record in tail.records(follow=False)}
    return {key.decode(): from_bytes(Alias, value) for key, value in latest.items() if value}


def resolve(connection: Connection, topic: str, aliases_topic: str = TopicSettings().aliases) -> str:
    """The topic that stands in for `topic`, or `topic` itself.

    Reads a topic of a few records: cheap enough for a start and for every half minute, too dear for every record.
    Raises kafka.errors.KafkaError where the cluster does not answer.
    """
    found = aliases(connection, aliases_topic).get(topic)
    return topic if found is None else found.topic


def resolved(connection: Connection, topics: TopicSettings) -> TopicSettings:
    """The settings with every output where its alias leads: what a worker writes to."""
    found = aliases(connection, topics.aliases)
    led = {key: found[getattr(topics, key)].topic for key in ALIASED if getattr(topics, key) in found}
    return topics.model_copy(update=led)


def require_unmoved(connection: Connection, named: TopicSettings, topics: TopicSettings, patience_s: float) -> None:
    """Raise DriverError where the outputs `named` lead elsewhere by now than to `topics`, which a worker writes to.

    A cutover waits for the workers' group to be empty, not for its workers: one that was cut off meanwhile is in the
    group again, in another generation of it, and has to be led anew. Raises BrokerUnavailable where the cluster does
    not answer within `patience_s` seconds, and KafkaError where it refuses this client.
    """

    def is_away(error: BaseException) -> bool:
        return isinstance(error, KafkaError | BrokerUnavailable) and not is_refusal(error)

    try:
        now = waiting_for("the aliases", patience_s, tenacity.retry_if_exception(is_away))(resolved, connection, named)
    except (KafkaError, BrokerUnavailable) as error:
        if is_refusal(error):
            raise
        raise unanswered(connection, patience_s) from error
    for key in ALIASED:
        before, led = getattr(topics, key), getattr(now, key)
        if before != led:
            raise DriverError(
                f"a cutover leads {getattr(named, key)} to {led} now, and this worker, which was out of its group "
                f"meanwhile, writes to {before}: start it again"
            )
