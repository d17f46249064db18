from __future__ import annotations

import sys
from pathlib import Path

import pytest

from rasad.inference.conversion import (
    Column,
    ConversionError,
    claim_columns,
    convert,
    reads_text_first,
    token_columns,
)


def test_iob_in_all_its_spellings() -> None:
    wanted = (Column("O", (0,)), Column("B-PER", (1,)), Column("I-PER", (2,)))
    for labels in (
        ["O", "B-PER", "I-PER"],
        ["O", "B_PERS", "I_PERS"],
        ["O", "PER-B", "PER-I"],
        ["o", "B-person", "I-person"],
    ):
        assert token_columns(labels) == wanted


def test_ends_and_single_words_become_insides_and_beginnings() -> None:
    iobes = ["O", "B-LOC", "I-LOC", "E-LOC", "S-LOC"]
    bilou = ["B-LOC", "I-LOC", "L-LOC", "O", "U-LOC"]
    assert token_columns(iobes) == (Column("O", (0,)), Column("B-LOC", (1, 4)), Column("I-LOC", (2, 3)))
    assert token_columns(bilou) == (Column("O", (3,)), Column("B-LOC", (0, 4)), Column("I-LOC", (1, 2)))


def test_plain_types_begin_a_name_and_rather_go_on() -> None:
    assert token_columns(["O", "ORG"]) == (Column("O", (0,)), Column("B-ORG", (), (1,)), Column("I-ORG", (1,)))


def test_iob1_must_be_said() -> None:
    with pytest.raises(ConversionError, match="--scheme iob1"):
        token_columns(["O", "I-ORG"])
    assert token_columns(["O", "I-ORG", "B-ORG"], scheme="iob1") == (
        Column("O", (0,)),
        Column("B-ORG", (2,), (1,)),
        Column("I-ORG", (1,)),
    )


def test_finer_types_fold_unless_all_eight_are_told_apart() -> None:
    assert [each.label for each in token_columns(["O", "B-GPE", "I-GPE", "B-FAC", "I-FAC", "B-DATE"])] == [
        "O",
        "B-LOC",
        "I-LOC",
    ]
    fine = token_columns(["O", "B-GPE", "I-GPE", "B-NORP", "I-NORP", "B-LAW", "I-LAW", "B-TIME", "I-TIME"])
    assert [each.label for each in fine] == ["O", "B-GPE", "I-GPE", "B-NORP", "I-NORP", "B-MISC", "I-MISC"]
    assert fine[0] == Column("O", (0, 7, 8))


def test_unknown_types_are_named_and_can_be_renamed() -> None:
    labels = ["O", "B-DISEASE", "I-DISEASE", "B-PER", "I-PER"]
    with pytest.raises(ConversionError, match=r"B-DISEASE, I-DISEASE.*--label DISEASE=MISC"):
        token_columns(labels)
    assert token_columns(labels, renamed={"DISEASE": "MISC"})[-1] == Column("I-MISC", (2,))
    assert token_columns(labels, renamed={"B-DISEASE": "O", "I-DISEASE": "O"})[0] == Column("O", (0, 1, 2))
    with pytest.raises(ConversionError, match="no NER model"):
        token_columns(["B-PER", "I-PER"])


def test_a_label_renamed_to_a_type_keeps_its_own_prefix() -> None:
    labels = ["O", "B-DISEASE", "I-DISEASE", "LABEL_3"]
    wanted = (Column("O", (0,)), Column("B-MISC", (1, 3)), Column("I-MISC", (2,)))
    renamed = {"B-DISEASE": "MISC", "I-DISEASE": "MISC", "LABEL_3": "B-MISC"}
    assert token_columns(labels, renamed=renamed) == wanted
    assert token_columns(labels, renamed={**renamed, "I-DISEASE": "B-MISC"})[-1] == Column("B-MISC", (1, 2, 3))


def test_nameless_claim_labels_may_be_those_of_inference() -> None:
    with pytest.raises(ConversionError, match="entailment, neutral and contradiction"):
        claim_columns(["LABEL_0", "LABEL_1", "LABEL_2"])


def test_claim_labels_by_name_or_renamed() -> None:
    nli = claim_columns(["CONTRADICTION", "ENTAILMENT", "NEUTRAL"])
    assert nli == (Column("agree", (1,)), Column("disagree", (0,)), Column("discuss", (2,)))
    with pytest.raises(ConversionError, match="--label LABEL_0=agree"):
        claim_columns(["LABEL_0", "LABEL_1"])
    assert claim_columns(["LABEL_0", "LABEL_1"], {"LABEL_0": "unrelated", "LABEL_1": "agree"}) == (
        Column("agree", (1,)),
        Column("unrelated", (0,)),
    )
    with pytest.raises(ConversionError, match="nothing to tell apart"):
        claim_columns(["agree", "support"])


def test_without_torch_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ConversionError, match=r"pip install 'rasad\[training\]'"):
        convert(tmp_path, tmp_path / "bundle")


def test_models_for_inference_read_the_text_first() -> None:
    assert reads_text_first(["ENTAILMENT", "NEUTRAL", "CONTRADICTION"])
    assert reads_text_first(["LABEL_0", "LABEL_1"], {"LABEL_1": "contradiction"})
    assert not reads_text_first(["agree", "disagree", "neutral"])
