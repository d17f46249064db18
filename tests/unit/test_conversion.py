"""What conversion refuses before it needs PyTorch."""

from __future__ import annotations

import pytest

from rasad.inference.conversion import (
    LARGEST_GRAPH,
    ConversionError,
    check_size,
    check_vocabulary,
    label_names,
)
from tests.unit.test_cli import rasad


def test_a_model_that_no_onnx_file_holds_is_refused() -> None:
    check_size("xlm-roberta-base", 278_000_000)
    check_size("largest", LARGEST_GRAPH // 4)
    with pytest.raises(ConversionError, match=r"xlm-roberta-large: has 560 million parameters.*533 million in fp32"):
        check_size("xlm-roberta-large", 560_000_000)


def test_labels_are_numbered_from_zero() -> None:
    assert label_names("model", {1: "PER", 0: "O"}) == ["O", "PER"]
    with pytest.raises(ConversionError, match="has 2 labels, but none of number 0; number them from 0 to 1"):
        label_names("model", {1: "O", 2: "PER"})
    with pytest.raises(ConversionError, match="has 3 labels, but none of number 2"):
        label_names("model", {0: "O", 1: "PER", 5: "LOC"})


@pytest.mark.parametrize(
    "pieces",
    [
        ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"],
        ["<s>NOTUSED", "<pad>", "</s>NOTUSED", "<unk>", "<mask>", "▁"],
        [],
    ],
)
def test_special_pieces_alone_are_no_tokenizer(pieces: list[str]) -> None:
    with pytest.raises(ConversionError, match="has no tokenizer: all"):
        check_vocabulary("model", {piece: number for number, piece in enumerate(pieces)}, 100)


@pytest.mark.parametrize("piece", ["و", "##و", "▁و", "Ġa"])
def test_a_piece_of_letters_makes_a_tokenizer(piece: str) -> None:
    check_vocabulary("model", {"[UNK]": 0, piece: 1}, 2)


def test_a_piece_that_the_model_has_no_embedding_of_is_refused() -> None:
    with pytest.raises(ConversionError, match="gives 'ز' the number 2, but the model knows 2 pieces"):
        check_vocabulary("model", {"[UNK]": 0, "ز": 2, "و": 1}, 2)


def test_help_says_how_a_model_for_inference_is_told() -> None:
    shown = " ".join(rasad("models", "convert", "--help").stdout.replace("│", " ").split())
    assert "entailment, neutral and contradiction" in shown
    assert "reads the article as the premise" in shown
