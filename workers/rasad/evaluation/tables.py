"""A report as tables to print."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from rasad.enrich.claims import THRESHOLD, Gate
from rasad.evaluation.report import (
    CalibrationRow,
    ClaimGateRow,
    EntityStanceRow,
    QuoteRow,
    Report,
    SpanRow,
    StanceRow,
)
from rasad.evaluation.spans import Score


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows of text under columns, ready to print."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


def tables(report: Report) -> list[Table]:
    """The report as tables, one for each corpus and label set; int8 and fp32 stand side by side."""
    made = [
        *_span_tables(
            [row for row in report.rows if isinstance(row, SpanRow)],
            [row for row in report.rows if isinstance(row, CalibrationRow)],
        ),
        *_stance_tables([row for row in report.rows if isinstance(row, StanceRow)]),
        *_claim_gate_tables([row for row in report.rows if isinstance(row, ClaimGateRow)]),
        *_quote_tables([row for row in report.rows if isinstance(row, QuoteRow)]),
        *_entity_stance_tables([row for row in report.rows if isinstance(row, EntityStanceRow)]),
    ]
    if report.left_out:
        made.append(Table(title="not measured", columns=("what",), rows=tuple((each,) for each in report.left_out)))
    return made


def _span_tables(rows: Sequence[SpanRow], calibration: Sequence[CalibrationRow]) -> list[Table]:
    made = []
    for key in dict.fromkeys((row.corpus, row.head, row.types) for row in rows):
        mine = [row for row in rows if (row.corpus, row.head, row.types) == key]
        graphs = list(dict.fromkeys(row.graph for row in mine))
        scores = {(row.level, row.group, row.graph): row.score for row in mine}
        columns = ["mentions", "gold", "P", "R", "F1", "F1 of words"]
        columns += ["F1 fp32", "int8 less fp32"] if len(graphs) > 1 else []
        lines = []
        for group in dict.fromkeys(row.group for row in mine):
            if ("mentions", group, "int8") not in scores:
                continue
            score, words = scores["mentions", group, "int8"], scores.get(("words", group, "int8"))
            line = [group, str(score.gold), *map(_number, (score.precision, score.recall, score.f1))]
            line.append(_number(words.f1) if words else "")
            if len(graphs) > 1:
                exact = scores.get(("mentions", group, "fp32"), Score(0, 0, 0))
                line += [_number(exact.f1), f"{score.f1 - exact.f1:+.2f}"]
            lines.append(tuple(line))
        errors = [row for row in calibration if (row.corpus, row.head, row.types) == key]
        notes = tuple(f"expected calibration error, {row.graph}: {row.error:.1f} %" for row in errors)
        title = f"{key[0]}, {key[2]} (head {key[1]}): strict, micro-averaged"
        made.append(Table(title=title, columns=tuple(columns), rows=tuple(lines), notes=notes))
    return made


def _stance_tables(rows: Sequence[StanceRow]) -> list[Table]:
    made = []
    for corpus, group in groupby(rows, key=lambda row: row.corpus):
        mine = list(group)
        classes = list(dict.fromkeys(label for row in mine for label in row.result.f1_by_class))
        lines = [
            (
                row.by,
                _with_interval(row.result.accuracy, row.result.accuracy_interval),
                _with_interval(row.result.macro_f1, row.result.macro_f1_interval),
                *(_number(row.result.f1_by_class.get(label, 0.0)) for label in classes),
            )
            for row in mine
        ]
        notes = ["95 % bootstrap intervals over the examples"]
        if mine[0].left_out:
            notes.append(f"{mine[0].left_out} examples left out: the head does not have their label")
        made.append(
            Table(
                title=f"{corpus} (head {mine[0].head}): {mine[0].result.examples} pairs",
                columns=("by", "accuracy", "macro-F1", *(f"F1 {label}" for label in classes)),
                rows=tuple(lines),
                notes=tuple(notes),
            )
        )
    return made


def _claim_gate_tables(rows: Sequence[ClaimGateRow]) -> list[Table]:
    if not rows:
        return []
    most = Gate().most
    lines = tuple(
        (
            f"{row.result.threshold:.2f}{' (default)' if row.result.threshold == THRESHOLD else ''}",
            _number(row.result.own),
            f"{row.result.others:.2f}",
            _number(row.result.own_judged),
            f"{row.result.others_judged:.2f}",
            _number(row.result.judged),
        )
        for row in rows
    )
    return [
        Table(
            title=f"{rows[0].corpus}: which of {rows[0].result.claims} watched claims reach the model, without a model",
            columns=(
                *("claims.threshold", "own claims", "others"),
                *(f"own, best {most}", f"others, best {most}", "judged an article"),
            ),
            rows=lines,
            notes=("percent of the claims written about an article, and of those about other articles",),
        )
    ]


def _quote_tables(rows: Sequence[QuoteRow]) -> list[Table]:
    if not rows:
        return []
    return [
        Table(
            title=f"{rows[0].corpus}: quotes, spans matched at half of the longer one",
            columns=("by", "gold", "P", "R", "F1", "speaker right", "kind right"),
            rows=tuple(
                (
                    row.graph,
                    *_score_cells(row.result.spans),
                    _number(row.result.speaker_accuracy),
                    _number(row.result.kind_accuracy),
                )
                for row in rows
            ),
            notes=("speaker and kind: percent of the matched quotes",),
        )
    ]


def _entity_stance_tables(rows: Sequence[EntityStanceRow]) -> list[Table]:
    if not rows:
        return []
    lines = []
    for row in rows:
        for name, score in (
            ("holder, target, label, paragraph", row.result.whole),
            ("of them support", row.result.support),
            ("of them oppose", row.result.oppose),
            ("label and paragraph alone", row.result.polarity),
        ):
            lines.append((row.graph, name, *_score_cells(score)))
    title = f"{rows[0].corpus}: who stands where"
    columns = ("by", "right where these agree", "gold", "P", "R", "F1")
    return [Table(title=title, columns=columns, rows=tuple(lines))]


def _score_cells(score: Score) -> tuple[str, str, str, str]:
    return str(score.gold), _number(score.precision), _number(score.recall), _number(score.f1)


def _number(value: float) -> str:
    return f"{value:.1f}"


def _with_interval(value: float, interval: tuple[float, float]) -> str:
    return f"{value:.1f} [{interval[0]:.1f}, {interval[1]:.1f}]"
