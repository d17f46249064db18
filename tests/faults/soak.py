"""Hundreds of faults over thousands of articles, under both drivers at once, on a cluster of three nodes.

    python -m tests.faults.soak --minutes 30 --faults 300 --articles 20000 --seed 1

Each fault is over before the next one begins, while articles go on being fed and enriched. At the end every fault is
healed, the workers finish, and all outputs are read back. Exit code 1 if a record was lost, changed or overtaken by a
later version of its article, or appears twice where delivery is exactly once.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from typing import Final

from kafka.errors import KafkaError
from rich.console import Console
from rich.table import Table

from rasad.streams.topics import output_topics
from tests.faults.lanes import Lane, lanes
from tests.faults.site import NODES, Site, running_site
from tests.faults.verdict import Verdict

WORKERS: Final = 2
"""Of each driver."""
SECONDS_EACH: Final = 0.01
_BUSY_SHARE: Final = 0.85
"""Of the time, for faults; the rest is for finishing."""
_SETTLE_S: Final = 300.0


@dataclass(slots=True, kw_only=True)
class Soak:
    """One run: where it takes place, and what has happened so far."""

    site: Site
    lanes: Sequence[Lane]
    random: random.Random
    injected: Counter[str] = field(default_factory=Counter)
    ended_by_themselves: list[str] = field(default_factory=list)

    def inject(self, kind: str) -> None:
        """One fault, from its beginning to its end."""
        KINDS[kind].inject(self)
        self.injected[kind] += 1

    def supervise(self) -> None:
        """Start workers in place of those that are gone, as an orchestrator does, and note who ended by itself."""
        for lane in self.lanes:
            for process in tuple(lane.workers):
                if process.process.poll() is not None:
                    self.ended_by_themselves.append(f"{lane.name}: {(process.lines or ['nothing said'])[-1].strip()}")
                    lane.end(process, signal.SIGKILL)
            while len(lane.workers) < WORKERS:
                lane.start()

    def pause(self, shortest_s: float, longest_s: float) -> None:
        time.sleep(self.random.uniform(shortest_s, longest_s))

    def end_one(self, number: signal.Signals) -> None:
        """End a worker of each driver; the supervisor starts another."""
        for lane in self.lanes:
            lane.end(self.random.choice(lane.workers), number)

    def freeze_workers(self) -> None:
        """Freeze a worker of each driver: mostly for a moment, now and then past its session."""
        frozen = [self.random.choice(lane.workers) for lane in self.lanes]
        for process in frozen:
            process.process.send_signal(signal.SIGSTOP)
        self.pause(*self.random.choices([(0.1, 2.0), (7.0, 9.0)], weights=[3, 1])[0])
        for process in frozen:
            process.process.send_signal(signal.SIGCONT)

    def come_and_go(self) -> None:
        """A rebalance storm: one more worker of each driver joins, and another leaves before it is settled."""
        for lane in self.lanes:
            lane.start()
        self.pause(0.5, 3.0)
        self.end_one(signal.SIGTERM)

    def kill_node(self) -> None:
        node = self.random.choice(self.site.cluster.nodes)
        node.kill()
        self.pause(0.0, 2.0)
        node.start()

    def freeze_node(self) -> None:
        node = self.random.choice(self.site.cluster.nodes)
        node.pause()
        self.pause(0.5, 5.0)
        node.resume()

    def move_leaders(self) -> None:
        self.site.move_leaders([name for lane in self.lanes for name in (lane.topics.raw, *output_topics(lane.topics))])

    def cut_network(self) -> None:
        """Between the workers and one node, or all of them."""
        chosen = self.random.sample(self.site.proxies, self.random.choice([1, NODES]))
        for proxy in chosen:
            proxy.cut()
        self.pause(0.1, 2.0)
        for proxy in chosen:
            proxy.mend()

    def stall_network(self) -> None:
        chosen = self.random.sample(self.site.proxies, self.random.choice([1, NODES]))
        for proxy in chosen:
            proxy.stall()
        self.pause(0.5, 5.0)
        for proxy in chosen:
            proxy.mend()

    def refuse_outputs(self) -> None:
        """Have the brokers take no output for a while: more replicas must be in step than there are."""
        topics = [name for lane in self.lanes for name in output_topics(lane.topics)]
        self.site.require_replicas(topics, NODES + 1)
        self.pause(0.5, 3.0)
        self.site.require_replicas(topics, NODES - 1)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault; `weight` is how often it is drawn, against the others."""

    inject: Callable[[Soak], None]
    weight: int


KINDS: Final[dict[str, Kind]] = {
    "worker killed": Kind(lambda soak: soak.end_one(signal.SIGKILL), 22),
    "worker stopped": Kind(lambda soak: soak.end_one(signal.SIGTERM), 10),
    "worker frozen": Kind(Soak.freeze_workers, 12),
    "workers come and go": Kind(Soak.come_and_go, 10),
    "node killed": Kind(Soak.kill_node, 10),
    "node frozen": Kind(Soak.freeze_node, 8),
    "leaders moved": Kind(Soak.move_leaders, 10),
    "network cut": Kind(Soak.cut_network, 8),
    "network stalled": Kind(Soak.stall_network, 6),
    "outputs refused": Kind(Soak.refuse_outputs, 4),
}


def plan(count: int, chance: random.Random) -> list[str]:
    """`count` kinds of fault in the order of their injection, each kind at least once where there is room."""
    drawn = chance.choices(list(KINDS), weights=[kind.weight for kind in KINDS.values()], k=max(0, count - len(KINDS)))
    chosen = [*KINDS, *drawn][:count]
    chance.shuffle(chosen)
    return chosen


def run(soak: Soak, faults: Sequence[str], articles: int, seconds: float, told: Console) -> dict[str, Verdict]:
    """Inject `faults` over `seconds` while `articles` are fed to each driver; what became of them, by driver."""
    begun = time.monotonic()
    soak.supervise()
    for number, kind in enumerate(faults):
        for lane in soak.lanes:
            lane.feed(articles * (number + 1) // len(faults) - articles * number // len(faults))
        told.print(f"{time.monotonic() - begun:6.0f} s  {number + 1:4}  {kind}", highlight=False)
        # What a fault needs of the cluster, the fault before it may have left too weak to give; it is healed, and
        # the next one is injected.
        with suppress(KafkaError):
            soak.inject(kind)
        soak.site.heal()
        soak.supervise()
        due = begun + seconds * _BUSY_SHARE * (number + 1) / len(faults)
        time.sleep(max(0.0, due - time.monotonic()))
    told.print(f"{time.monotonic() - begun:6.0f} s  finishing", highlight=False)
    verdicts = {}
    for lane in soak.lanes:
        lane.settle(_SETTLE_S, soak.supervise)
        verdicts[lane.name] = lane.judge()
    return verdicts


def show(soak: Soak, verdicts: dict[str, Verdict], seconds: float, console: Console) -> None:
    injected = Table("fault", "injected", title=f"{soak.injected.total()} faults in {seconds / 60:.1f} minutes")
    for kind, count in soak.injected.most_common():
        injected.add_row(kind, str(count))
    console.print(injected)
    names = [each.name for each in fields(Verdict)]
    outcome = Table("driver", *(name.replace("_", " ") for name in names), title="what became of the records")
    for driver, verdict in verdicts.items():
        outcome.add_row(driver, *(f"{getattr(verdict, name):,}" for name in names))
    console.print(outcome)
    for reason, count in Counter(soak.ended_by_themselves).most_common():
        console.print(f"{count} x a worker ended by itself: {reason}", markup=False, highlight=False)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it and print the tables; gives the exit code."""
    parser = argparse.ArgumentParser(description="Both drivers under injected faults, on a cluster of three nodes.")
    parser.add_argument("--minutes", type=float, default=30.0, help="how long it takes in all (default 30)")
    parser.add_argument("--faults", type=int, default=300, help="how many faults (default 300)")
    parser.add_argument("--articles", type=int, default=20_000, help="records for each driver (default 20000)")
    parser.add_argument("--seed", type=int, default=1, help="equal seeds draw equal faults (default 1)")
    options = parser.parse_args(arguments)
    chance = random.Random(options.seed)
    told = Console(stderr=True)
    with running_site() as site, lanes(site.plain, site.through, seconds_each=SECONDS_EACH) as both:
        soak = Soak(site=site, lanes=both, random=chance)
        begun = time.monotonic()
        verdicts = run(soak, plan(options.faults, chance), options.articles, options.minutes * 60, told)
        show(soak, verdicts, time.monotonic() - begun, Console(width=140))
    problems = {
        lane.name: found for lane in both if (found := verdicts[lane.name].problems(exactly_once=lane.exactly_once))
    }
    for driver, found in problems.items():
        told.print(f"{driver}: {', '.join(found)}", style="red")
    return 1 if problems or soak.injected.total() < options.faults else 0


if __name__ == "__main__":
    sys.exit(main())
