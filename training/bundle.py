"""Assemble a bundle: graph, tokenizer, configuration, manifest with hashes, and the model card."""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rasad.evaluation.report import ANERCORP_DEV_NAME, AQMAR_DEV_NAME

BASE = {
    "name": "multilingual-e5-small",
    "licence": "MIT",
    "note": "12 layers, 384 hidden; the layers and the pruned embedding table start from it",
}
RAW = [
    {"name": name, "licence": licence, "use": "masked language model"}
    for name, licence in (
        ("ANT corpus v2.1, multi-source part", "ANT citation licence"),
        ("ANT corpus, Jawhara FM part", "ANT citation licence, Apache-2.0 file"),
        ("Egyptian newspapers of 2013", "Apache-2.0 repository"),
    )
]
NEWS = {"name": "Rasad news labels", "licence": "CC BY 4.0 (labels)"}


def own(articles: str) -> dict[str, str]:
    """The labels of our own, of so many articles."""
    return {"name": f"Rasad labels of {articles} further articles (training/labels)", "licence": "CC BY 4.0 (labels)"}


TRAINING_DATA: dict[str, list[dict[str, str]]] = {
    "ner": [
        NEWS,
        own("4,781"),
        {"name": "ANERcorp, CAMeL Lab split, train", "licence": "CC BY-SA 4.0"},
        {"name": "AQMAR, train", "licence": "CC BY-SA 3.0"},
        {"name": "PAN-X (WikiANN) Arabic, train", "licence": "CC BY-SA"},
        {"name": "Wojood public sample, train", "licence": "MIT"},
    ],
    "stance": [
        NEWS,
        own("3,000"),
        {"name": "ANS (Arabic News Stance), train, and its article-level derivation", "licence": "Apache-2.0"},
        {"name": "UnifiedFC, train", "licence": "none stated"},
        {"name": "ArabicStanceX, train", "licence": "CC BY 4.0"},
        {"name": "NLI arbTEDS pairs, train", "licence": "none stated"},
    ],
}
WEIGHTS_LICENCE = "CC BY-SA 4.0"
"""What the ShareAlike corpora among the training data ask of weights trained on them; the base model is MIT."""


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def manifest(
    task: str,
    heads: dict[str, list[str]],
    folder: Path,
    *,
    max_tokens: int,
    temperatures: dict[str, float],
    outside: dict[str, float],
    thresholds: dict[str, float],
    stance_odds: dict[str, float] | None,
    headline_weights: dict[str, float],
    claim_weights: dict[str, float],
    trained_on: Sequence[str],
    name: str = "",
    relations: dict[str, list[str]],
) -> dict[str, Any]:
    """`bundle.json` of the files in `folder`."""
    kind = "token" if task == "ner" else "sequence"
    return {
        "format": 1,
        "name": name or f"rasad-{task}",
        "version": "1",
        "task": task,
        "default_head": "news",
        "max_tokens": max_tokens,
        "heads": {
            name: {"kind": kind, "labels": labels, "temperature": temperatures.get(name, 1.0)}
            | ({"outside": outside[name]} if name in outside else {})
            for name, labels in heads.items()
        }
        | {name: {"kind": "relation", "labels": labels} for name, labels in relations.items()},
        "files": {name: sha256(folder / name) for name in ("config.json", "model.onnx", "tokenizer.json")},
        "pooling": "word-mean",
        "batch_invariant": True,
        "thresholds": thresholds,
        "stance_odds": stance_odds,
        "headline_weights": headline_weights,
        "claim_weights": claim_weights,
        "licence": WEIGHTS_LICENCE,
        "base_model": BASE,
        "training_data": [*RAW, *TRAINING_DATA[task]],
        "trained_on": [*trained_on],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("task", choices=("ner", "stance"))
    parser.add_argument("model", type=Path, help="directory written by training.finetune_ner or finetune_stance")
    parser.add_argument("graph", type=Path, help="model.onnx written by training.export")
    parser.add_argument("out", type=Path, help="bundle directory to write")
    parser.add_argument("--max-tokens", type=int, default=192, help="pieces a sequence (default: %(default)s)")
    parser.add_argument("--name", default="", help="name of the bundle (default: rasad- and the task)")
    parser.add_argument(
        "--trained-on",
        action="append",
        default=[],
        choices=(ANERCORP_DEV_NAME, AQMAR_DEV_NAME),
        help="a dev set of `rasad models eval` that the weights were trained on; once for each",
    )
    parser.add_argument(
        "--outside",
        action="append",
        default=[],
        metavar="HEAD=VALUE",
        help="what a head adds to the score of `O`, where its dev set cannot choose any more; once for each",
    )
    parser.add_argument("--calibration", type=Path, help="JSON written by training.calibrate")
    arguments = parser.parse_args()
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    config = json.loads((arguments.model / "config.json").read_text())
    keep = [
        "model_type",
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "intermediate_size",
        "vocab_size",
        "embedding_size",
        "hidden_act",
        "max_position_embeddings",
        "type_vocab_size",
        "layer_norm_eps",
        "pad_token_id",
    ]
    heads = json.loads((arguments.model / "heads.json").read_text())
    written = {key: config[key] for key in keep if key in config}
    family = {"bert": "Bert", "electra": "Electra"}[config["model_type"]]
    written["architectures"] = [f"{family}ForTokenClassification" if arguments.task == "ner" else f"{family}Model"]
    written["id2label"] = {str(index): label for index, label in enumerate(heads["news"])}
    written["label2id"] = {label: index for index, label in enumerate(heads["news"])}
    (out / "config.json").write_text(json.dumps(written, ensure_ascii=False, indent=1) + "\n")
    tokenizer = json.loads((arguments.model / "tokenizer.json").read_bytes())
    (out / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False, separators=(",", ":")), "utf-8")
    (out / "model.onnx").write_bytes(arguments.graph.read_bytes())
    calibration = json.loads(arguments.calibration.read_text()) if arguments.calibration else {}
    given = {head: float(value) for head, value in (each.split("=") for each in arguments.outside)}
    related = arguments.model / "relations.json"
    made = manifest(
        arguments.task,
        heads,
        out,
        max_tokens=arguments.max_tokens,
        temperatures=calibration.get("temperatures", {}),
        outside=given | calibration.get("outside", {}),
        thresholds=calibration.get("thresholds", {}),
        stance_odds=calibration.get("stance_odds"),
        headline_weights=calibration.get("headline_weights", {}),
        claim_weights=calibration.get("claim_weights", {}),
        trained_on=arguments.trained_on,
        name=arguments.name,
        relations={"stances": json.loads(related.read_text())["sides"]} if related.exists() else {},
    )
    (out / "bundle.json").write_text(json.dumps(made, ensure_ascii=False, indent=1) + "\n")
    print(f"{out}: {sum(p.stat().st_size for p in out.iterdir()) / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
