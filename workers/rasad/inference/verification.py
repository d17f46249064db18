"""Whether a bundle holds: its files and graph, that it runs, that equal input gives equal bits, int8 against fp32."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from onnxruntime.capi import onnxruntime_pybind11_state as runtime_errors

from rasad.inference.backend import Logits, OnnxBackend
from rasad.inference.bundle import Bundle, BundleError, default_opset, load_bundle
from rasad.inference.engine import TOKEN_BUDGET, Engine
from rasad.inference.tokenization import Ints

SENTENCES: Final = (
    "افتتح وزير النقل الأردني صباح اليوم في العقبة رصيفا جديدا لسفن الحاويات.",
    "وقالت منظمة الصحة العالمية إن حملة التطعيم في صنعاء وعدن بلغت نصف مليون طفل.",
    "فاز المنتخب المغربي على نظيره السنغالي بهدفين لهدف في مباراة ودية بالرباط.",
    "رفض البرلمان اللبناني مشروع الموازنة، وطالب نواب بيروت بتأجيل الجلسة إلى الأسبوع المقبل.",
    "سجلت محطات الرصد في وهران هزة خفيفة.",
    "أعلنت شركة أرامكو السعودية توقيع اتفاق مع جامعة القاهرة لتدريب مئتي مهندس، بحسب بيان نشر مساء الخميس في الرياض.",
)
"""Sentences written for these checks, short and long."""

LEAST_AGREEMENT: Final = 98.0
"""Percent of labels that int8 must share with fp32."""

_RUN_ERRORS: Final = (runtime_errors.Fail, runtime_errors.InvalidArgument, runtime_errors.RuntimeException)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was checked of a bundle, and what was found."""

    name: str
    passed: bool
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """Two graphs of one bundle on the same pieces: percent of equal labels, and the largest difference of a logit."""

    agreement: float
    labels: int
    largest_difference: float


def verify(path: str | Path | None, *, fp32: Path | None = None) -> list[Check]:
    """Check a bundle, and its int8 graph against `fp32` where that is given. Never raises BundleError.

    Checks stop at the first that fails where those after it could not be made.
    """
    return list(_checks(path, fp32))


def _checks(path: str | Path | None, fp32: Path | None) -> Iterator[Check]:
    try:
        bundle = load_bundle(path, task=None)
    except BundleError as error:
        yield Check(name="files", passed=False, detail=str(error))
        return
    manifest = bundle.manifest
    opset = default_opset(bundle.model.read_bytes())
    heads = ", ".join(f"{name} ({len(head.labels)} labels)" for name, head in manifest.heads.items())
    yield Check(name="files", passed=True, detail=f"{len(manifest.files)} hashes agree; bundle.json is {bundle.sha256}")
    try:
        engine = Engine(bundle, OnnxBackend(bundle, threads=1))
    except BundleError as error:
        yield Check(name="graph", passed=False, detail=str(error))
        return
    yield Check(name="graph", passed=True, detail=f"opset {opset}, int8 or as shipped; heads {heads}")
    sequences = _sequences(engine)
    try:
        alone = _alone(engine, sequences)
    except BundleError as error:
        yield Check(name="runs", passed=False, detail=str(error))
        return
    yield _runs(bundle, sequences, alone)
    yield _tried("repeats", lambda: _repeats(engine, sequences, alone))
    if manifest.batch_invariant:
        yield _tried("batch_invariant", lambda: _invariant(engine, sequences, alone))
    if fp32 is not None:
        yield _tried("parity", lambda: _parity_check(bundle, fp32, sequences, alone))


def _tried(name: str, make: Callable[[], Check]) -> Check:
    """What `make` finds; where it raises BundleError, a failed check of that name."""
    try:
        return make()
    except BundleError as error:
        return Check(name=name, passed=False, detail=str(error))


def _sequences(engine: Engine) -> list[Ints]:
    """The sentences one by one, and as many of them in one as fill the bundle's `max_tokens`, as texts or as pairs."""
    read = [each.ids for each in engine.tokenizer.tokenize(SENTENCES)]
    template, limit = engine.tokenizer.template, engine.bundle.manifest.max_tokens
    if engine.bundle.manifest.task == "ner":
        return [template.single(ids) for ids in _filling(read, limit - template.single_room)]
    both = limit - template.pair_room
    first = read[0][: both // 2]
    return [template.pair(first, ids) for ids in _filling(read, both - len(first))]


def _filling(texts: Sequence[Ints], room: int) -> list[Ints]:
    """The pieces of each text, cut to `room`, and `room` pieces of all of them one after another, over and over."""
    return [*(ids[:room] for ids in texts), np.resize(np.concatenate(texts), room)]


def _alone(engine: Engine, sequences: Sequence[Ints]) -> list[Mapping[str, Logits]]:
    """Logits of each sequence in a batch of its own. Raises BundleError as `_run` does."""
    return [_run(engine, [sequence], [0])[0] for sequence in sequences]


def _run(engine: Engine, sequences: Sequence[Ints], groups: Sequence[int]) -> list[Mapping[str, Logits]]:
    """Logits of all heads (see Engine.run). Raises BundleError where ONNX Runtime fails at it."""
    try:
        return engine.run(sequences, list(engine.bundle.manifest.heads), groups=groups)
    except _RUN_ERRORS as error:
        raise BundleError(
            f"{engine.backend.name}: a batch of {len(sequences)}, its longest text of {max(map(len, sequences))} "
            f"pieces, does not run: {str(error).splitlines()[0]}"
        ) from error


def _runs(bundle: Bundle, sequences: Sequence[Ints], logits: Sequence[Mapping[str, Logits]]) -> Check:
    wrong = []
    for name, head in bundle.manifest.heads.items():
        for sequence, values in zip(sequences, logits, strict=True):
            shape = (len(head.labels),) if head.kind == "sequence" else (len(sequence), len(head.labels))
            if head.kind == "relation":
                shape = (len(sequence), values[name].shape[-1])
            if values[name].shape != shape or not np.isfinite(values[name]).all():
                wrong.append(name)
    lengths = [len(sequence) for sequence in sequences]
    detail = f"{len(sequences)} Arabic texts, {sum(lengths)} pieces, {max(lengths)} in the longest"
    if wrong:
        detail = f"wrong shape, or logits that are no finite numbers, in head {', '.join(dict.fromkeys(wrong))}"
    return Check(name="runs", passed=not wrong, detail=detail)


def _repeats(engine: Engine, sequences: Sequence[Ints], alone: Sequence[Mapping[str, Logits]]) -> Check:
    same = _equal(alone, _alone(engine, sequences))
    detail = "the same bits in two runs" if same else "two runs of the same input differ"
    return Check(name="repeats", passed=same, detail=detail)


def _invariant(engine: Engine, sequences: Sequence[Ints], alone: Sequence[Mapping[str, Logits]]) -> Check:
    """Every sequence in a batch with each of the others, so padded in all these ways, and with all of them."""
    every = range(len(sequences))
    groups = [*([one, other] for one in every for other in every if one < other), list(every)]
    differing = 0
    for members in groups:
        batched = _run(engine, [sequences[index] for index in members], members)
        differing += not _equal([alone[index] for index in members], batched)
    if differing:
        detail = (
            f"bundle.json says batch_invariant, but {differing} of {len(groups)} batches give other bits than their "
            "members alone: set it to false"
        )
    else:
        detail = f"the same bits alone and in {len(groups)} batches under {TOKEN_BUDGET} tokens"
    return Check(name="batch_invariant", passed=not differing, detail=detail)


def _equal(one: Sequence[Mapping[str, Logits]], other: Sequence[Mapping[str, Logits]]) -> bool:
    return all(
        np.array_equal(values, second[name])
        for first, second in zip(one, other, strict=True)
        for name, values in first.items()
    )


def _parity_check(
    bundle: Bundle, fp32: Path, sequences: Sequence[Ints], logits: Sequence[Mapping[str, Logits]]
) -> Check:
    """The check of int8 against the graph of `fp32`. Raises BundleError where that does not load or run."""
    if not fp32.is_file():
        raise BundleError(f"{fp32}: no such file")
    exact = Engine(bundle, OnnxBackend(bundle, threads=1, graph=fp32))
    labelled = [name for name, head in bundle.manifest.heads.items() if head.kind != "relation"]
    found = parity(_alone(exact, sequences), logits, labelled)
    detail = (
        f"{found.agreement:.2f} % of {found.labels} labels as in fp32 (at least {LEAST_AGREEMENT} wanted), "
        f"logits differ by {found.largest_difference:.3f} at most"
    )
    return Check(name="parity", passed=found.agreement >= LEAST_AGREEMENT, detail=detail)


def parity(
    one: Sequence[Mapping[str, Logits]], other: Sequence[Mapping[str, Logits]], labelled: Collection[str]
) -> Parity:
    """How far two graphs agree on the same sequences, over all heads; on labels over those of `labelled`."""
    equal = total = 0
    largest = 0.0
    for first, second in zip(one, other, strict=True):
        for name, values in first.items():
            if name in labelled:
                same = values.argmax(axis=-1) == second[name].argmax(axis=-1)
                equal += int(same.sum())
                total += same.size
            largest = max(largest, float(np.abs(values - second[name]).max()))
    return Parity(agreement=100 * equal / max(total, 1), labels=total, largest_difference=largest)
