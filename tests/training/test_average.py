"""Taggers of one line are averaged; what does not go together is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

pytestmark = pytest.mark.training


def tagger(folder: Path, value: float, *, width: int = 3, labels: str = "{}") -> Path:
    import torch
    from safetensors.torch import save_file

    folder.mkdir()
    for name in ("model.safetensors", "heads.safetensors"):
        save_file({"weight": torch.full((2, width), value)}, folder / name)
    for name, text in (("config.json", "{}"), ("tokenizer.json", "{}"), ("heads.json", labels)):
        (folder / name).write_text(text)
    return folder


def test_every_weight_is_the_mean(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    from training.average import average

    average([tagger(tmp_path / "one", 1.0), tagger(tmp_path / "other", 2.0)], tmp_path / "mean")
    for name in ("model.safetensors", "heads.safetensors"):
        assert load_file(tmp_path / "mean" / name)["weight"].tolist() == [[1.5] * 3] * 2
    assert not (tmp_path / "mean" / "relations.safetensors").exists()
    assert (tmp_path / "mean" / "heads.json").read_text() == "{}"


def test_other_labels_or_shapes_are_refused(tmp_path: Path) -> None:
    from training.average import average

    one = tagger(tmp_path / "one", 1.0)
    with pytest.raises(ValueError, match=r"heads\.json is not the same in"):
        average([one, tagger(tmp_path / "labels", 1.0, labels="[]")], tmp_path / "mean")
    with pytest.raises(ValueError, match="differ in names or shapes"):
        average([one, tagger(tmp_path / "wide", 1.0, width=4)], tmp_path / "mean")
