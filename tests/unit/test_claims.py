"""Watched claims: which articles they meet, and that events know nothing of them."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rasad.enrich.claims import ClaimIndex, Gate
from rasad.enrich.enricher import Enricher
from rasad.enrich.evidence import stem_counts
from rasad.enrich.stance import Pair, StanceModel, claim_model
from rasad.enrich.stem_rarity import NUMBER, RAREST, rarity
from rasad.evaluation.claims import gate_results
from rasad.evaluation.stem_counts import by_rarity
from rasad.inference.engine import Engine
from rasad.messages import Claim, EnrichedEvent, Outcome, Record, StanceRecord, derived_id, from_bytes, to_bytes
from rasad.settings import Settings, TopicSettings
from rasad.streams.claims import LONGEST_TEXT, ClaimError, checked, claim_of, read_claims
from rasad.streams.publication import Publication, publications, verified
from tests.unit.articles import REPORT, long_body
from tests.unit.test_enricher import TEXTS, event, record

TITLE, BODY = REPORT
ARTICLE = stem_counts(f"{TITLE}\n{BODY}")
CLAIMS = [
    Claim(id="campaign", text="بدأت في الأردن حملة تطعيم تشمل المدارس"),
    Claim(id="doctors", text="أيدت نقابة الأطباء الأردنية حملة التطعيم"),
    Claim(id="football", text="فاز فريق الوحدات بكأس السوبر في كرة القدم"),
]
TOPICS = TopicSettings()
EVERYTHING = Gate(threshold=0.0, most=1_000_000)

WORDS = st.sampled_from([*BODY.split(), *long_body(60).split(), "في", "من", "2026", "نادر"])
SENTENCES = st.lists(WORDS, min_size=1, max_size=12).map(" ".join)
SOME_CLAIMS = st.dictionaries(st.text("abcdefgh", min_size=1, max_size=3), SENTENCES, max_size=12).map(
    lambda texts: [Claim(id=id_, text=text) for id_, text in texts.items()]
)


class TestRarity:
    def test_common_words_weigh_nothing_and_unknown_ones_most(self) -> None:
        assert rarity("في") == 0
        assert 0 < rarity("حكوم") < RAREST
        assert rarity("تعميد") == RAREST
        assert rarity("2026") == rarity("7") == NUMBER

    def test_the_table_is_in_the_order_of_how_often_stems_occur(self) -> None:
        texts = ["في البحر", "في البر سفينة", "في الجو 7", "في البحر", *["في"] * 4]
        assert by_rarity(texts)[0] == ["في"]
        assert by_rarity(texts)[1:4] == [[], ["بحر"], ["بر", "جو", "سفين"]]


class TestClaimIndex:
    def test_a_claim_about_the_article_passes_and_another_does_not(self) -> None:
        assert [match.claim.id for match in ClaimIndex(CLAIMS).matches(ARTICLE, Gate())] == ["doctors", "campaign"]

    def test_the_best_come_first_and_no_more_than_wanted(self) -> None:
        index = ClaimIndex(CLAIMS)
        matches = index.matches(ARTICLE, EVERYTHING)
        assert [match.score for match in matches] == sorted((match.score for match in matches), reverse=True)
        assert index.matches(ARTICLE, Gate(most=1)) == matches[:1]
        assert index.matches(ARTICLE, Gate(most=0)) == []

    def test_equal_claims_come_by_id(self) -> None:
        same = [Claim(id=id_, text=CLAIMS[0].text) for id_ in "cab"]
        assert [match.claim.id for match in ClaimIndex(same).matches(ARTICLE, Gate())] == ["a", "b", "c"]

    def test_of_two_claims_with_one_id_the_later_holds(self) -> None:
        index = ClaimIndex([CLAIMS[0], replace(CLAIMS[0], text="نص آخر", version=2)])
        assert [claim.version for claim in index.claims] == [2]

    def test_nothing_is_found_in_nothing(self) -> None:
        assert ClaimIndex().matches(ARTICLE, EVERYTHING) == []
        assert ClaimIndex(CLAIMS).matches({}, Gate()) == []
        assert ClaimIndex([Claim(id="common", text="في من على")]).matches(ARTICLE, Gate()) == []

    @settings(deadline=None, max_examples=40)
    @given(claims=SOME_CLAIMS, text=SENTENCES)
    def test_a_claims_score_depends_on_no_other(self, claims: list[Claim], text: str) -> None:
        article = stem_counts(text)
        together = {match.claim.id: match.score for match in ClaimIndex(claims).matches(article, EVERYTHING)}
        alone = {
            match.claim.id: match.score
            for claim in claims
            for match in ClaimIndex([claim]).matches(article, EVERYTHING)
        }
        assert together == alone

    @settings(deadline=None, max_examples=40)
    @given(before=SOME_CLAIMS, changes=SOME_CLAIMS, removed=st.sets(st.text("abcdefgh", min_size=1, max_size=2)))
    def test_a_changed_index_is_as_one_made_anew(
        self, before: list[Claim], changes: list[Claim], removed: set[str]
    ) -> None:
        old = ClaimIndex(before)
        held = {claim.id: claim for claim in before}
        changed = old.changed({**dict.fromkeys(removed), **{claim.id: claim for claim in changes}})
        kept = {id_: claim for id_, claim in held.items() if id_ not in removed}
        anew = ClaimIndex([*kept.values(), *changes])
        assert changed.claims == anew.claims
        assert changed.matches(ARTICLE, EVERYTHING) == anew.matches(ARTICLE, EVERYTHING)
        assert old.claims == ClaimIndex(before).claims

    @settings(deadline=None, max_examples=40)
    @given(claims=SOME_CLAIMS, order=st.randoms(use_true_random=False))
    def test_the_order_of_claims_does_not_matter(self, claims: list[Claim], order: random.Random) -> None:
        shuffled = list(claims)
        order.shuffle(shuffled)
        assert ClaimIndex(claims).matches(ARTICLE, EVERYTHING) == ClaimIndex(shuffled).matches(ARTICLE, EVERYTHING)

    def test_a_claim_scores_most_in_the_article_that_says_it(self) -> None:
        index = ClaimIndex([claim_of(TITLE)])
        said, unsaid = (stem_counts(text) for text in (BODY, long_body(80)))
        assert index.scores(said)[0] > Gate().threshold > index.scores(unsaid)[0]

    def test_the_right_ones_are_found_among_ten_thousand(self) -> None:
        rng = random.Random(0)
        words = f"{long_body(400)} زيت سفينة مهرجان ثلج متحف جسر قطار بحيرة مسرح حصان".split()
        others = [Claim(id=f"{number:05}", text=" ".join(rng.choices(words, k=9))) for number in range(10_000)]
        index = ClaimIndex([*others, *CLAIMS])
        assert len(index) == 10_003
        matches = index.matches(ARTICLE, Gate())
        assert {match.claim.id for match in matches[:2]} == {"campaign", "doctors"}
        assert len(matches) <= Gate().most
        assert matches == [match for match in index.matches(ARTICLE, EVERYTHING) if match in matches]

    def test_what_the_gate_lets_through_is_counted_by_whose_the_claim_is(self) -> None:
        rain = {
            "title": "أمطار غزيرة على جنيف",
            "body": "هطلت أمطار غزيرة.",
            "claims": [{"text": "هطلت أمطار على جنيف"}],
        }
        report = {"title": TITLE, "body": BODY, "claims": [{"text": CLAIMS[0].text}, {"text": "أمطار غزيرة تهطل"}]}
        results = gate_results([rain, report])
        assert [result.threshold for result in results] == sorted(result.threshold for result in results)
        assert {result.claims for result in results} == {3}
        assert results[0].own == pytest.approx(100 * 2 / 3)
        assert results[0].others == results[0].others_judged == pytest.approx(100 * 1 / 3)
        assert results[0].judged == 1.5

    def test_the_settings_are_the_gates_own(self) -> None:
        configured = Settings().claims
        assert Gate(threshold=configured.threshold, most=configured.per_article) == Gate()


@pytest.fixture
def watching(ner_engine: Engine, stance_model: StanceModel) -> Enricher:
    index = ClaimIndex(CLAIMS)
    return Enricher(ner_engine, stance_model, claims=lambda: index)


RECORDS = [
    record(TITLE, BODY, id="a1"),
    record("خبر قصير", "أعلنت بلدية الرباط افتتاح حديقة جديدة.", id="a2"),
    Record(value=b"English alone."),
    record(TITLE, long_body(60), id="a3"),
]


def published(outcome: Outcome) -> tuple[Publication, ...]:
    """What a driver writes for an outcome, without what may differ between two runs."""
    stable = replace(outcome, run={}) if isinstance(outcome, EnrichedEvent) else outcome
    return publications(stable, RECORDS[0], TOPICS)


def towards_claims(wanted: tuple[Publication, ...]) -> list[Publication]:
    return [each for each in wanted if from_bytes(StanceRecord, each.value or b"").stance.kind == "claim"]


class TestStancesTowardsClaims:
    def test_they_go_out_under_the_claims_id_and_nothing_else_changes(
        self, enricher: Enricher, watching: Enricher
    ) -> None:
        extra = []
        for plain, watched in zip(enricher.enrich(RECORDS), watching.enrich(RECORDS), strict=True):
            without, within = published(plain), published(watched)
            assert within[: len(without)] == without
            extra += within[len(without) :]
        assert extra == towards_claims(tuple(extra))
        assert extra
        for each in extra:
            stance = from_bytes(StanceRecord, each.value or b"").stance
            assert each.topic == TOPICS.stances
            assert each.key == (stance.target.claim_id or "").encode()
            assert (stance.target.claim_version, stance.label != "unrelated") == (1, True)
            assert stance.target.text in {claim.text for claim in CLAIMS}
            assert set(stance.probs) == {"agree", "disagree", "discuss", "unrelated"}

    def test_they_are_those_of_the_model_alone(self, watching: Enricher, stance_model: StanceModel) -> None:
        (made,) = map(event, watching.enrich(RECORDS[:1]))
        found = {each.target.claim_id: each for each in made.stances if each.kind == "claim"}
        index = ClaimIndex(CLAIMS)
        matched = [match.claim for match in index.matches(ARTICLE, Gate())]
        pairs = [Pair(claim=claim.text, title=TITLE, body=BODY) for claim in matched]
        for claim, result in zip(matched, claim_model(stance_model).classify(pairs), strict=True):
            if result.label == "unrelated":
                assert claim.id not in found
            else:
                assert (found[claim.id].label, found[claim.id].evidence) == (result.label, result.evidence)
                assert found[claim.id].probs == result.probs

    def test_what_shares_a_batch_changes_nothing(self, watching: Enricher) -> None:
        alone = [published(watching.enrich([each])[0]) for each in RECORDS]
        assert [published(outcome) for outcome in watching.enrich(RECORDS)] == alone

    def test_another_claim_changes_none_of_the_others_records(
        self, ner_engine: Engine, stance_model: StanceModel, watching: Enricher
    ) -> None:
        more = ClaimIndex([*CLAIMS, Claim(id="a-first", text="وزير الصحة الأردني يبدأ حملة تطعيم")])
        both = Enricher(ner_engine, stance_model, claims=lambda: more)
        before, after = (published(each.enrich(RECORDS[:1])[0]) for each in (watching, both))
        assert set(before) < set(after)

    def test_their_ids_follow_event_claim_version_and_text(self, watching: Enricher) -> None:
        (outcome,) = watching.enrich(RECORDS[:1])
        made = event(outcome)
        identities = {dict(each.headers)["ce_id"].decode() for each in published(made) if each.topic == TOPICS.stances}
        for stance in (each for each in made.stances if each.kind == "claim"):
            target = stance.target
            assert derived_id(made.event_id, "claim", target.claim_id or "", "1", target.text) in identities
        renamed = replace(
            made,
            stances=tuple(
                replace(each, target=replace(each.target, claim_version=2)) if each.kind == "claim" else each
                for each in made.stances
            ),
        )
        other = {dict(each.headers)["ce_id"].decode() for each in published(renamed)}
        assert len(identities - other) == sum(each.kind == "claim" for each in made.stances)

    def test_their_spans_are_checked(self, watching: Enricher) -> None:
        made = event(watching.enrich(RECORDS[:1])[0])
        assert verified(made, RECORDS[0]) is made
        last = made.stances[-1]
        assert last.kind == "claim"
        wrong = replace(last, evidence=(replace(last.evidence[0], end=100_000),))
        outcome = verified(replace(made, stances=(*made.stances[:-1], wrong)), RECORDS[0])
        assert not isinstance(outcome, EnrichedEvent)

    def test_claims_are_asked_for_once_a_batch(self, ner_engine: Engine, stance_model: StanceModel) -> None:
        asked = []

        def ask() -> ClaimIndex:
            asked.append(len(asked))
            return ClaimIndex(CLAIMS[: len(asked)])

        enricher = Enricher(ner_engine, stance_model, claims=ask)
        for _ in range(2):
            enricher.enrich(RECORDS)
        assert asked == [0, 1]

    @settings(max_examples=10, deadline=None)
    @given(claim=TEXTS, title=TEXTS, body=TEXTS)
    def test_any_claim_at_all_leaves_the_event_as_it_is(
        self, ner_engine: Engine, stance_model: StanceModel, enricher: Enricher, claim: str, title: str, body: str
    ) -> None:
        index = ClaimIndex([Claim(id="odd", text=claim)])
        watching = Enricher(ner_engine, stance_model, claims=lambda: index, gate=EVERYTHING)
        records = [record(title, body, id="a1")] if not has_surrogates(title + body) else RECORDS[:1]
        without, within = (published(each.enrich(records)[0]) for each in (enricher, watching))
        assert within[: len(without)] == without


def has_surrogates(text: str) -> bool:
    return any("\ud800" <= letter <= "\udfff" for letter in text)


class TestChecking:
    def test_white_space_around_a_text_is_left_out(self) -> None:
        assert claim_of("  هطل المطر في جنيف \n") == claim_of("هطل المطر في جنيف")

    def test_an_id_is_made_of_the_text_unless_it_is_given(self) -> None:
        assert claim_of("هطل المطر").id == claim_of("هطل المطر").id != claim_of("هطل الثلج").id
        assert claim_of("هطل المطر", "rain").id == "rain"

    @pytest.mark.parametrize(
        ("claim", "told"),
        [
            (Claim(id="a", text=" \n"), "no text"),
            (Claim(id="a", text="It rained in Geneva"), "does not read as Arabic"),
            (Claim(id="a", text="باران در ژنو بارید و هوا سرد است"), "does not read as Arabic"),
            (Claim(id="a", text="هطل المطر " * 60), f"{LONGEST_TEXT} at most"),
            (Claim(id="", text="هطل المطر"), "printable characters"),
            (Claim(id="a\n", text="هطل المطر"), "printable characters"),
            (Claim(id="a" * 201, text="هطل المطر"), "printable characters"),
            (Claim(id="a", text="هطل المطر", version=0), "versions count from 1"),
            (Claim(id="a", text="هطل المطر", version=2**63), "versions count from 1 to 9,223,372,036,854,775,807"),
        ],
    )
    def test_what_cannot_be_watched_is_refused(self, claim: Claim, told: str) -> None:
        with pytest.raises(ClaimError, match=told):
            checked(claim)

    def test_a_file_of_claims(self, tmp_path: Path) -> None:
        path = tmp_path / "claims.jsonl"
        path.write_text(
            '{"text": " هطل المطر "}\n{"id": "snow", "text": "هطل الثلج", "version": 3}\n', encoding="utf-8"
        )
        assert read_claims(path) == [
            claim_of("هطل المطر"),
            Claim(id="snow", text="هطل الثلج", version=3),
        ]

    def test_the_seeds_are_claims_and_a_list_of_claims_is_a_file_of_them(self, tmp_path: Path) -> None:
        seeds = read_claims("seeds/claims.jsonl")
        assert len(seeds) == 6
        path = tmp_path / "again.jsonl"
        path.write_bytes(b"".join(to_bytes(claim) + b"\n" for claim in seeds))
        assert read_claims(path) == seeds

    @pytest.mark.parametrize(
        ("line", "told"),
        [
            ("{}", "line 2: no claim .*text"),
            ('{"text": 7}', "line 2: no claim .*text"),
            ("nonsense", "line 2: no claim"),
            ('{"text": "hello"}', "line 2: .*does not read as Arabic"),
            ('{"id": "rain", "text": "هطل الثلج"}', "line 2: claim 'rain' stands there twice"),
        ],
    )
    def test_a_bad_line_is_named(self, tmp_path: Path, line: str, told: str) -> None:
        path = tmp_path / "claims.jsonl"
        path.write_text('{"id": "rain", "text": "هطل المطر"}\n' + line + "\n", encoding="utf-8")
        with pytest.raises(ClaimError, match=told):
            read_claims(path)
