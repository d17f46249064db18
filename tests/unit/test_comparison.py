"""What changed between two events of an article: against a brute-force diff, and as people read it."""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from dataclasses import replace
from itertools import product
from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from typer.testing import CliRunner

from rasad import comparison_report
from rasad.cli import app
from rasad.messages import EnrichedEvent, Entity, Mention, Quote, Stance, StanceHolder, StanceTarget, to_bytes
from rasad.messages import Record as RawRecord
from rasad.streams.comparison import Change, Comparison, changes, paired
from rasad.streams.event_pairs import EventPairs, Side
from tests.kafka.plain_enrichment import enrich

TITLE = "الأمم المتحدة تدعو إلى محادثات"
BODY = "دعت الأمم المتحدة أطراف النزاع في ليبيا إلى محادثات في جنيف، وقال سلامة إن الجميع وافق على الحضور."


def event(article_id: str = "one", *, title: str = TITLE, body: str = BODY, source: str | None = None) -> EnrichedEvent:
    value = orjson.dumps({"id": article_id, "title": title, "body": body, "source": source})
    (outcome,) = enrich([RawRecord(value=value)])
    assert isinstance(outcome, EnrichedEvent)
    return replace(outcome, mentions=(), entities=(), stances=())


def mention(start: int, end: int, type_: str = "LOC", field: str = "body", subtype: str | None = None) -> Mention:
    text = TITLE if field == "title" else BODY
    return Mention(
        mention_id="",
        entity_id="",
        field=field,
        start=start,
        end=end,
        surface=text[start:end],
        core_start=start,
        core_end=end,
        type=type_,
        subtype=subtype,
        prob=1.0,
        sentence=0,
    )


def entity(entity_id: str, canonical: str, type_: str = "PER") -> Entity:
    return Entity(
        entity_id=entity_id,
        type=type_,
        canonical=canonical,
        aliases=(),
        mention_count=1,
        in_title=False,
        salience=1.0,
        confidence=1.0,
    )


def quote(start: int, end: int, speaker: str | None = None, speaker_entity_id: str | None = None) -> Quote:
    return Quote(
        field="body",
        start=start,
        end=end,
        kind="direct",
        cue=None,
        speaker=speaker,
        speaker_entity_id=speaker_entity_id,
        prob=1.0,
    )


def stance(label: str, *, kind: str = "headline", about: str = TITLE, holder: str | None = None) -> Stance:
    return Stance(
        kind=kind,
        target=StanceTarget(text=about),
        label=label,
        probs={},
        evidence=(),
        holder=StanceHolder(text=holder) if holder else None,
    )


def brute_force(before: list[Mention], after: list[Mention]) -> Counter[tuple[str, tuple[int, ...], tuple[int, ...]]]:
    """The same pairing, by trying every pair again for each one taken."""
    found: Counter[tuple[str, tuple[int, ...], tuple[int, ...]]] = Counter()
    was, now = list(before), list(after)
    while True:
        best = None
        for mine, other in product(was, now):
            shared = len(set(range(mine.start, mine.end)) & set(range(other.start, other.end)))
            if mine.field != other.field or not shared:
                continue
            equal = (mine.start, mine.end) == (other.start, other.end)
            rank = (not equal, -shared, mine.start, other.start, before.index(mine), after.index(other))
            if best is None or rank < best[0]:
                best = rank, mine, other
        if best is None:
            break
        _, mine, other = best
        was.remove(mine)
        now.remove(other)
        if best[0][0]:
            found["boundary", key(mine), key(other)] += 1
        elif mine.type != other.type:
            found["retyped", key(mine), key(other)] += 1
    found.update(Counter(("lost", key(each), ()) for each in was))
    found.update(Counter(("added", (), key(each)) for each in now))
    return found


def key(each: Mention) -> tuple[int, ...]:
    return int(each.field == "body"), each.start, each.end


def of_changes(before: list[Mention], after: list[Mention]) -> Counter[tuple[str, tuple[int, ...], tuple[int, ...]]]:
    found: Counter[tuple[str, tuple[int, ...], tuple[int, ...]]] = Counter()
    for was, now in paired(before, after):
        if was is None:
            assert now
            found["added", (), key(now)] += 1
        elif now is None:
            found["lost", key(was), ()] += 1
        elif key(was) != key(now):
            found["boundary", key(was), key(now)] += 1
        elif was.type != now.type:
            found["retyped", key(was), key(now)] += 1
    return found


@st.composite
def mentions(draw: st.DrawFn) -> list[Mention]:
    found: dict[tuple[int, ...], Mention] = {}
    for _ in range(draw(st.integers(0, 7))):
        field = draw(st.sampled_from(["title", "body"]))
        start = draw(st.integers(0, 25))
        each = mention(start, start + draw(st.integers(1, 8)), draw(st.sampled_from(["PER", "LOC"])), field)
        found[key(each)] = each
    return draw(st.permutations(list(found.values())))


@given(mentions(), mentions())
@settings(max_examples=150, deadline=None)
def test_pairs_and_changes_are_those_of_brute_force(before: list[Mention], after: list[Mention]) -> None:
    assert of_changes(before, after) == brute_force(before, after)
    plain = event()
    found = changes(replace(plain, mentions=tuple(before)), replace(plain, mentions=tuple(after)))
    assert Counter(change.how for change in found) == Counter(how for how, *_ in brute_force(before, after).elements())


@given(mentions(), mentions())
@settings(max_examples=100, deadline=None)
def test_every_span_is_in_one_pair(before: list[Mention], after: list[Mention]) -> None:
    pairs = paired(before, after)
    assert sorted(key(was) for was, _ in pairs if was) == sorted(map(key, before))
    assert sorted(key(now) for _, now in pairs if now) == sorted(map(key, after))


@given(mentions())
@settings(max_examples=50, deadline=None)
def test_nothing_changed_between_equal_events(same: list[Mention]) -> None:
    plain = replace(event(), mentions=tuple(same), stances=(stance("agree"),), quotes=(quote(3, 9, "سلامة"),))
    assert changes(plain, plain) == []


def shown(found: list[Change]) -> list[tuple[str, str, str, str | None, str | None]]:
    return [(each.part, each.how, each.type, each.before, each.after) for each in found]


def test_mentions() -> None:
    plain = event()
    libya = BODY.index("ليبيا")
    before = (mention(4, 17, "ORG"), mention(libya, libya + 5, subtype="GPE"), mention(60, 64))
    after = (mention(5, 17, "ORG"), mention(libya, libya + 5, subtype="LOC"), mention(70, 73, "PER"))
    found = changes(replace(plain, mentions=before), replace(plain, mentions=after))
    assert [(each.how, each.type, each.start, each.end) for each in found] == [
        ("boundary", "ORG", 5, 17),
        ("retyped", "LOC", libya, libya + 5),
        ("lost", "LOC", 60, 64),
        ("added", "PER", 70, 73),
    ]
    assert (found[1].before, found[1].after) == ("ليبيا LOC/GPE", "ليبيا LOC")


def test_entities_quotes_and_stances() -> None:
    salame, group = entity("1", "غسان سلامة"), entity("2", "الأمم المتحدة", "ORG")
    before = replace(
        event(),
        entities=(salame, group),
        quotes=(quote(10, 30, "سلامة", "1"), quote(40, 50, "سلامة"), quote(60, 70, "سلامة")),
        stances=(
            stance("agree"),
            stance("oppose", kind="entity", about="القرار", holder="سلامة"),
            stance("support", kind="entity", about="القرار", holder="سلامة"),
        ),
    )
    after = replace(
        event(),
        entities=(salame, entity("3", "فايز السراج")),
        quotes=(quote(10, 30, "غسان", "1"), quote(42, 50, "السراج"), quote(60, 72, "سلامة")),
        stances=(
            stance("disagree"),
            stance("support", kind="entity", about="القرار", holder="سلامة"),
            stance("support", kind="entity", about="القرار", holder="سلامة"),
            stance("support", kind="entity", about="الاتفاق"),
        ),
    )
    assert shown(changes(before, after)) == [
        ("entity", "lost", "ORG", "الأمم المتحدة", None),
        ("entity", "added", "PER", None, "فايز السراج"),
        ("quote", "speaker", "direct", "سلامة", "السراج"),
        ("quote", "boundary", "direct", "سلامة", "سلامة"),
        ("stance", "flipped", "headline", f"{TITLE}: agree", f"{TITLE}: disagree"),
        ("stance", "flipped", "entity", "سلامة: القرار: oppose", "سلامة: القرار: support"),
        ("stance", "added", "entity", None, "الاتفاق: support"),
    ]


def tally() -> Comparison:
    found = Comparison(a="a.jsonl", b="b.jsonl", examples_max=2)
    for number in range(4):
        before = event(f"article-{number}", source="صحيفة <الخبر>")
        found.add(before, replace(before, mentions=(mention(4, 17, "ORG"),), stances=(stance("agree"),)))
    found.add(replace(event("x"), mentions=(mention(4, 17),)), replace(event("x"), mentions=(mention(4, 17, "PER"),)))
    found.add(event("same"), event("same"))
    found.add(event("edited"), event("edited", body=BODY + " وأضاف."))
    found.add(event("gone"), None)
    found.add(None, event("new"))
    return found


def test_a_tally_counts_by_type_and_source_and_keeps_few_examples() -> None:
    found = tally()
    assert (found.compared, found.same, found.changed) == (6, 1, 5)
    assert (found.only_a_ids, found.only_b_ids, found.texts_differ_ids) == (["gone"], ["new"], ["edited"])
    assert found.by_type["mention", "ORG", "added"] == 4
    assert found.by_source["صحيفة <الخبر>", "mention", "added"] == 4
    assert found.retyped == {("LOC", "PER"): 1}
    (first, second) = found.examples["mention", "added"]
    assert (first.article_id, second.article_id) == ("article-0", "article-1")
    assert (first.left, first.marked) == (BODY[:4], BODY[4:17])
    assert BODY[17:].startswith(first.right)


def test_the_page_is_whole_and_escapes_what_comes_from_outside() -> None:
    page = comparison_report.page(tally())
    assert "صحيفة &lt;الخبر&gt;" in page
    assert f"<mark>{BODY[4:17]}</mark>" in page
    assert 'dir="rtl"' in page
    assert "prefers-color-scheme: dark" in page
    assert not re.search(r"(?:src|href)=|url\(|@import|https?:", page)


def test_the_terminal_obeys_nothing_that_comes_from_outside() -> None:
    found = Comparison(a="a", b="b", examples_max=2)
    before = event("odd", source="[bold]صحيفة\x1b[31m", body=f"{BODY[:17]}\x1b[2J{BODY[17:]}")
    found.add(before, replace(before, mentions=(mention(4, 17, "ORG"),)))
    found.add(event("\x1b[31mgone"), None)
    found.add(event("same", source="other"), event("same", source="other"))
    written = io.StringIO()
    comparison_report.show(Console(file=written, width=120), found)
    assert "\x1b" not in written.getvalue()
    assert "[bold]صحيفة" in written.getvalue()


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Two files of two articles each, one of them in both; in the first file twice, and beside a dead letter."""
    a, b = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    old = replace(event("shared"), mentions=(mention(60, 64),))
    letter = b'{"reason": "empty", "detail": "", "record": {}}'
    a.write_bytes(b"\n".join([to_bytes(old), letter, to_bytes(event("shared")), to_bytes(event("zeta"))]))
    b.write_bytes(b"\n".join(map(to_bytes, [replace(old, mentions=(mention(4, 17, "ORG"),)), event("alpha")])))
    return a, b


def test_the_last_event_of_each_article_is_paired_in_the_order_of_ids(files: tuple[Path, Path]) -> None:
    with EventPairs() as pairs:
        assert [pairs.read(number, Side.of(str(file)), None) for number, file in enumerate(files)] == [3, 2]
        assert pairs.no_events == [1, 0]
        found = list(pairs.pairs())
        assert len(pairs) == 3
    ids = [tuple(each and each.article.id for each in pair) for pair in found]
    assert ids == [(None, "alpha"), ("shared", "shared"), ("zeta", None)]
    assert found[1][0] is not None
    assert found[1][0].mentions == ()


def test_the_command_compares_files(files: tuple[Path, Path], tmp_path: Path) -> None:
    names = [str(file) for file in files]
    page = tmp_path / "changes.html"
    shown = CliRunner().invoke(app, ["replay", "compare", *names, "--html", str(page)], env={"COLUMNS": "120"})
    assert shown.exit_code == 0, shown.output
    assert "1 articles in both: 0 the same, 1 changed" in shown.output
    assert "1 only in A: zeta" in shown.output
    assert "الأمم المتحدة" in page.read_text(encoding="utf-8")
    as_data = CliRunner().invoke(app, ["replay", "compare", *names, "--json"])
    assert json.loads(as_data.stdout)["articles"]["only_b"] == 1


def test_a_side_without_events_is_refused(tmp_path: Path) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.write_bytes(b'{"reason": "empty"}\n')
    shown = CliRunner().invoke(app, ["replay", "compare", str(empty), str(empty)])
    assert shown.exit_code == 1
    assert "holds no enriched events" in shown.output
