"""A redrive that dies on its way: `python -m tests.kafka.redrive_process JSON`.

Where it dies: "sending", with the first transaction's records on the cluster and not committed, or "between" the
first transaction and the second.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from datetime import UTC, datetime

from kafka import KafkaProducer

from rasad.settings import TopicSettings
from rasad.streams.connection import Connection
from rasad.streams.dead_letters import Seen, Selection, StoredLetter, selected
from rasad.streams.redriving import outputs, redrive, transactional_id


def die(_done: int = 0) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def send_and_die(connection: Connection, topics: TopicSettings, letters: list[StoredLetter]) -> None:
    producer = KafkaProducer(**connection.kafka_python(), transactional_id=transactional_id(topics))
    producer.init_transactions()
    producer.begin_transaction()
    for letter in letters:
        for output in outputs(letter, topics, datetime.now(UTC)):
            wanted = output.publication
            producer.send(
                wanted.topic,
                value=wanted.value,
                key=wanted.key,
                headers=list(wanted.headers),
                partition=output.partition,
            )
    producer.flush()
    die()


def main(argument: str) -> None:
    options = json.loads(argument)
    connection = Connection(bootstrap_servers=(options["bootstrap"],))
    topics = TopicSettings(**options["topics"])
    letters = list(selected(connection, topics.dead_letters, Selection(), Seen()))
    if options["dies"] == "sending":
        send_and_die(connection, topics, letters)
    else:
        redrive(connection, topics, letters, told=die)


if __name__ == "__main__":
    main(sys.argv[1])
