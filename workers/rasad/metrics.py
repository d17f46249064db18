"""What a worker measures of itself, in Prometheus' terms; each metric is set where the thing measured happens.

The names are public: dashboards and alarms rest on them. `rasad worker` serves them (`worker.http_port`).
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Final, Literal

from prometheus_client import Counter, Gauge, Histogram

Stage = Literal["decode", "tokenise", "encode", "annotate", "serialise", "publish"]

_SIZES: Final = tuple(float(2**power) for power in range(18))
_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)

ARTICLES: Final = Counter(
    "rasad_articles", "Records of the raw topic that are done with, by outcome: enriched or dead_letter.", ["outcome"]
)
for _outcome in ("enriched", "dead_letter"):
    ARTICLES.labels(outcome=_outcome)  # 0 before the first one, so that a rate has something to start from
DEAD_LETTERS: Final = Counter("rasad_dead_letters", "Dead letters by the reason in their headers.", ["reason"])
BATCH_ARTICLES: Final = Histogram("rasad_batch_articles", "Records in a micro-batch.", buckets=_SIZES[:11])
BATCH_TOKENS: Final = Histogram(
    "rasad_batch_tokens",
    "Tokens of a micro-batch, estimated from its bytes before it is tokenised.",
    buckets=_SIZES[6:],
)
BUFFERED: Final = Gauge("rasad_buffered_records", "Records fetched that wait for a micro-batch.")
STAGE_SECONDS: Final = Histogram(
    "rasad_stage_seconds",
    "Seconds that a stage of one micro-batch took: decode, tokenise, encode (the models), annotate (spans, entities, "
    "quotes and stances out of logits), serialise, publish.",
    ["stage"],
    buckets=_SECONDS,
)
REAL_TOKENS: Final = Counter(
    "rasad_encoder_real_tokens", "Tokens that an encoder was given, padding left out.", ["task"]
)
PADDED_TOKENS: Final = Counter(
    "rasad_encoder_padded_tokens",
    "Tokens that an encoder computed, padding included: its ratio to the real ones is the padding waste.",
    ["task"],
)
LAG: Final = Gauge(
    "rasad_consumer_lag_records",
    "Offsets from the oldest unfinished record to the high watermark of the last fetch, by partition of the raw topic.",
    ["partition"],
)
REMOVED: Final = Counter(
    "rasad_removed_records",
    "Offsets of the raw topic, markers of transactions among them, that retention removed before the group read them.",
)
REBALANCES: Final = Counter("rasad_rebalances", "Assignments that the consumer group has given this worker.")
READY_SECONDS: Final = Gauge(
    "rasad_worker_ready_seconds", "From the start of the process until partitions were first assigned to it."
)


def stage(name: Stage) -> AbstractContextManager[object]:
    """Measures what is done within it as a stage of a micro-batch."""
    return STAGE_SECONDS.labels(stage=name).time()
