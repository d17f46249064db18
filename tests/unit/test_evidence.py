from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rasad.enrich.evidence import ranked, relevance, stem, stems
from rasad.enrich.reading import documents
from rasad.enrich.stance import Pair, StanceModel, claim_model, headline_model, pair_input
from rasad.inference.bundle import BundleError
from rasad.inference.engine import Engine
from tests.unit.articles import REPORT, long_body

SEEDED = [
    (title, body)
    for path in sorted((Path(__file__).parents[2] / "seeds").glob("*.txt"))
    for title, _, body in [path.read_text().partition("\n")]
]
SENTENCES = [
    "افتتح الوزير المدرسة الجديدة في الرباط صباح الأحد.",
    "هطلت أمطار غزيرة على مدن الشمال.",
    "وتضم المدرسة عشرين قاعة للتدريس ومختبراً للعلوم.",
]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("والمدرسة", "المدرسة"),
        ("للأمم", "الأمم"),
        ("بالقاهرة", "القاهره"),
        ("الوزير", "وزير"),
        ("محادثات", "المحادثات"),
    ],
)
def test_forms_of_one_word_share_a_stem(one: str, other: str) -> None:
    assert stem(one) == stem(other)


def test_short_words_keep_their_letters() -> None:
    assert stem("ولد") == "ولد"
    assert stems("في ب 12") == ["في", "12"]


def test_the_sentence_that_shares_the_rarest_words_comes_first() -> None:
    scores = relevance("في المدرسة مختبر للعلوم", SENTENCES)
    assert ranked(scores)[0] == 2
    assert scores[1] == 0


def test_sentences_that_share_nothing_keep_their_order() -> None:
    assert ranked(relevance("كرة القدم", SENTENCES)) == [0, 1, 2]
    assert relevance("كرة القدم", []) == []
    assert relevance("", SENTENCES) == [0, 0, 0]


CLAIMS = st.sampled_from(["", REPORT[0], "وزير الصحة " * 200, "ن" * 3000, "مختبر للعلوم"])
BODIES = st.sampled_from(["", REPORT[1], long_body(600), "كلمة " * 900, "س" * 4000, "قصير."])


@settings(max_examples=30, deadline=None)
@given(claim=CLAIMS, body=BODIES, limit=st.integers(min_value=24, max_value=256))
def test_a_pair_never_exceeds_the_models_length(stance_model: StanceModel, claim: str, body: str, limit: int) -> None:
    engine = stance_model.engine
    (words,) = engine.tokenizer.tokenize([claim])
    (read,) = documents(engine, [("", body)])
    made = pair_input(words, read.fields, engine.tokenizer.template, limit)
    assert len(made.ids) <= limit
    assert all(body[span.start : span.end].strip() for span in made.evidence)
    if read.body.tokenized.sentences.size:
        assert made.evidence
        assert len(made.ids) > engine.tokenizer.template.pair_room


def test_a_model_for_inference_reads_the_sentences_before_the_claim(stance_model: StanceModel) -> None:
    engine = stance_model.engine
    (claim,) = engine.tokenizer.tokenize(["افتتح وزير الصحة مختبرا"])
    (read,) = documents(engine, [REPORT])
    template = engine.tokenizer.template
    first, last = (pair_input(claim, read.fields, template, 128, text_first=after) for after in (False, True))
    assert first.evidence == last.evidence
    assert len(first.ids) == len(last.ids)
    assert first.ids[len(template.start) :][: len(claim.ids)].tolist() == claim.ids.tolist()
    assert last.ids[: -len(template.end)][-len(claim.ids) :].tolist() == claim.ids.tolist()


def test_evidence_is_found_deep_in_a_long_article(stance_model: StanceModel) -> None:
    body = f"{long_body(1500)}, واكتشف علماء الآثار مومياء ذهبية نادرة قرب الأقصر."
    (result,) = stance_model.classify([Pair(claim="علماء الآثار يكتشفون مومياء ذهبية قرب الأقصر", body=body)])
    engine = stance_model.engine
    (words,) = engine.tokenizer.tokenize(["علماء الآثار يكتشفون مومياء ذهبية قرب الأقصر"])
    (read,) = documents(engine, [("", body)])
    made = pair_input(words, read.fields, engine.tokenizer.template, engine.bundle.manifest.max_tokens)
    assert "مومياء" in body[made.evidence[-1].start : made.evidence[-1].end]
    assert list(result.probs) == list(stance_model.labels)


def test_evidence_ends_where_the_model_stopped_reading(stance_model: StanceModel) -> None:
    beginning = "اكتشف علماء الآثار مومياء نادرة قرب الأقصر"
    body = f"هطلت أمطار. {beginning}{' ومعها قطعة فخار مزخرفة' * 400} وتمثال ذهبي."
    engine = stance_model.engine
    (claim,) = engine.tokenizer.tokenize(["علماء الآثار يكتشفون مومياء وتمثالا ذهبيا"])
    (read,) = documents(engine, [("", body)])
    made = pair_input(claim, read.fields, engine.tokenizer.template, 128)
    (span,) = made.evidence
    shown = body[span.start : span.end]
    assert shown.startswith(beginning)
    assert shown.split() == body[span.start :].split()[: len(shown.split())]
    (again,) = engine.tokenizer.tokenize([shown])
    template = engine.tokenizer.template
    assert made.ids.tolist() == template.pair(claim.ids, again.ids).tolist()


def test_results_come_in_order_and_do_not_depend_on_each_other(stance_model: StanceModel) -> None:
    title, body = REPORT
    pairs = [
        Pair(claim=title, body=body),
        Pair(claim="فريق يفوز بكأس البطولة", title=title, body=body),
        Pair(claim=title, body=long_body(400)),
        Pair(claim="", body=""),
    ]
    together = stance_model.classify(pairs)
    assert together == [result for pair in pairs for result in stance_model.classify([pair])]
    for result in together:
        assert sum(result.probs.values()) == pytest.approx(1, abs=1e-3)
        assert result.label == max(result.probs, key=lambda label: result.probs[label])
        assert (result.label == "unrelated") <= (result.evidence == ())
    assert stance_model.classify([]) == []


def test_weights_shift_probabilities_as_another_prior_would(stance_model: StanceModel) -> None:
    title, body = REPORT
    pair = Pair(claim=title, body=body)
    (plain,) = stance_model.classify([pair])
    shifted = {"agree": 4.0, "discuss": 0.5}
    (weighted,) = StanceModel(stance_model.engine, weights=shifted).classify([pair])
    expected = {label: prob * shifted.get(label, 1) for label, prob in plain.probs.items()}
    total = sum(expected.values())
    assert weighted.probs == pytest.approx({label: each / total for label, each in expected.items()}, abs=2e-4)


def test_headlines_are_judged_as_the_bundle_says_unless_a_head_was_chosen(stance_model: StanceModel) -> None:
    title, body = REPORT
    engine, manifest = stance_model.engine, stance_model.engine.bundle.manifest
    weighing = replace(engine.bundle, manifest=replace(manifest, headline_head="ans", headline_weights={"other": 1e6}))
    judge = headline_model(StanceModel(Engine(weighing, engine.backend)))
    assert [each.label for each in judge.classify([Pair(claim=title, body=body)])] == ["other"]
    chosen = StanceModel(Engine(weighing, engine.backend), "unifiedfc")
    assert headline_model(chosen) is chosen
    assert claim_model(chosen) is chosen


def test_watched_claims_are_judged_as_the_bundle_says(stance_model: StanceModel) -> None:
    title, body = REPORT
    engine = stance_model.engine
    manifest = replace(engine.bundle.manifest, claim_weights={"discuss": 1e6})
    judge = claim_model(StanceModel(Engine(replace(engine.bundle, manifest=manifest), engine.backend)))
    assert [each.label for each in judge.classify([Pair(claim=title, body=body)])] == ["discuss"]


def test_headlines_do_not_contradict_their_own_articles(stance_model: StanceModel) -> None:
    judge = headline_model(stance_model)
    reports = [Pair(claim=title, body=body) for title, body in (REPORT, *SEEDED)]
    assert {result.label for result in judge.classify(reports)} == {"agree"}
    others = [Pair(claim=REPORT[0], body=body) for _, body in SEEDED]
    assert {result.label for result in judge.classify(others)} <= {"unrelated", "discuss"}


def test_a_head_must_exist_and_read_pairs(stance_model: StanceModel, ner_engine: Engine) -> None:
    with pytest.raises(BundleError, match="no head 'poetry'"):
        StanceModel(stance_model.engine, "poetry")
    with pytest.raises(BundleError, match="labels tokens"):
        StanceModel(ner_engine)
