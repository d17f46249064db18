"""A report as plain figures: for other programs, and for the manifest of the bundle that was measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from rasad.evaluation.report import (
    CalibrationRow,
    ClaimGateRow,
    EntityStanceRow,
    QuoteRow,
    Report,
    Row,
    SpanRow,
    StanceRow,
)
from rasad.evaluation.spans import Score

Figures = dict[str, Any]


def figures(report: Report) -> Iterator[Figures]:
    """One flat object a row, then one for each corpus that was left out.

    `measure` says which kind of row it is and so which other keys there are; all scores are in percent.
    """
    for row in report.rows:
        yield from _of_row(row)
    for each in report.left_out:
        yield {"measure": "not measured", "what": each}


def bundle_metrics(report: Report) -> dict[str, Figures]:
    """What a bundle's manifest states of its int8 graph, by corpus: its whole scores, none by type or group."""
    made: dict[str, Figures] = {}
    for row in report.rows:
        if isinstance(row, SpanRow) and (row.graph, row.level, row.group) == ("int8", "mentions", "all"):
            made.setdefault(_spans_of(row), {}).update(_scores(row.score))
        elif isinstance(row, CalibrationRow) and row.graph == "int8":
            made.setdefault(_spans_of(row), {})["calibration_error"] = _rounded(row.error)
        elif isinstance(row, StanceRow) and row.by == "int8":
            made[row.corpus] = _plain(asdict(row.result))
        elif isinstance(row, QuoteRow) and row.graph == "int8":
            made[f"{row.corpus}, quotes"] = _quotes(row)
        elif isinstance(row, EntityStanceRow) and row.graph == "int8":
            made[f"{row.corpus}, entity stances"] = _scores(row.result.whole)
    return made


def _of_row(row: Row) -> Iterator[Figures]:
    match row:
        case SpanRow():
            layer = {"corpus": row.corpus, "head": row.head, "types": row.types}
            part = {"level": row.level, "group": row.group, "graph": row.graph}
            yield {"measure": "spans", **layer, **part, **_scores(row.score)}
        case CalibrationRow():
            layer = {"corpus": row.corpus, "head": row.head, "types": row.types, "graph": row.graph}
            yield {"measure": "calibration", **layer, "calibration_error": _rounded(row.error)}
        case StanceRow():
            known = {"corpus": row.corpus, "head": row.head, "by": row.by, "left_out": row.left_out}
            yield {"measure": "stance", **known, **_plain(asdict(row.result))}
        case QuoteRow():
            yield {"measure": "quotes", "corpus": row.corpus, "graph": row.graph, **_quotes(row)}
        case EntityStanceRow():
            for agree in ("whole", "support", "oppose", "polarity"):
                known = {"corpus": row.corpus, "graph": row.graph, "agree": agree}
                yield {"measure": "entity stances", **known, **_scores(getattr(row.result, agree))}
        case ClaimGateRow():
            yield {"measure": "claim gate", "corpus": row.corpus, **_plain(asdict(row.result))}


def _spans_of(row: SpanRow | CalibrationRow) -> str:
    return f"{row.corpus}, {row.types}"


def _scores(score: Score) -> Figures:
    shares = {"precision": score.precision, "recall": score.recall, "f1": score.f1}
    return {"gold": score.gold, **{name: _rounded(value) for name, value in shares.items()}}


def _quotes(row: QuoteRow) -> Figures:
    result = row.result
    right = {"speaker_accuracy": _rounded(result.speaker_accuracy), "kind_accuracy": _rounded(result.kind_accuracy)}
    return {**_scores(result.spans), **right}


def _rounded(value: float) -> float:
    return round(value, 2)


def _plain(values: Mapping[str, Any]) -> Figures:
    """The same with all fractions rounded, within tuples and mappings too."""

    def plain(value: object) -> object:
        if isinstance(value, float):
            return _rounded(value)
        if isinstance(value, Mapping):
            return {key: plain(each) for key, each in value.items()}
        return [plain(each) for each in value] if isinstance(value, tuple) else value

    return {key: plain(value) for key, value in values.items()}
