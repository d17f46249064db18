"""Training from base weights to an event, end to end, on corpora of a few sentences."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rasad.enrich.enricher import Enricher
from rasad.inference.bundle import load_bundle
from rasad.messages import EnrichedEvent, Record
from tests.training.tiny_corpora import NAMES, sentence, write_corpora

pytestmark = [pytest.mark.training, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]


def run(module: str, *arguments: object) -> str:
    """What a step prints."""
    command = [sys.executable, "-m", f"training.{module}", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def keep_layers(folder: Path, count: int) -> None:
    """Leave the first layers of an encoder directory, so that the test takes minutes."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["num_hidden_layers"] = count
    path.write_text(json.dumps(config))


def test_from_base_weights_to_an_event(tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_corpora(data)
    raw = sorted((data / "raw").iterdir())
    run("base_weights", tmp_path / "base")
    run("vocabulary", tmp_path / "base", tmp_path / "pruned", *raw, "--minimum", 1)
    keep_layers(tmp_path / "pruned", 2)
    run("pretrain", tmp_path / "pruned", tmp_path / "encoder", *raw, "--minutes", 0.2, "--rows", 8, "--log-every", 1)
    losses = [json.loads(line)["loss"] for line in (tmp_path / "encoder" / "log.jsonl").read_text().splitlines()]
    third = len(losses) // 3
    assert third >= 2
    assert sum(losses[-third:]) < sum(losses[:third])
    passes = {
        "ner": "news=150,anercorp=0.5,aqmar=0.1,panx=0.05,wojood=0.05",
        "stance": "news=2,ans=1,ans_article=1,unifiedfc=1,nli=1,target=1",
    }
    for task in ("ner", "stance"):
        run(f"finetune_{task}", tmp_path / "encoder", data, tmp_path / task, "--rounds", 2, "--passes", passes[task])
        tuned = tmp_path / task
        if task == "ner":
            again, mean, tuned = tmp_path / "ner-again", tmp_path / "ner-mean", tmp_path / "related"
            more = ("--passes", "news=10,anercorp=0.5", "--whole-anercorp")
            run("finetune_ner", tmp_path / "ner", data, again, "--rounds", 1, "--seed", 1, *more)
            run("average", tmp_path / "ner", again, mean)
            run("relations", mean, data, tmp_path / "begun", "--rounds", 2, "--rank", 8)
            run("relations", again, data, tuned, "--rounds", 1, "--relations", tmp_path / "begun", "--guided")
        run("export", task, tuned, tmp_path / f"{task}-graph", data)
        graph = tmp_path / f"{task}-graph" / "model.onnx"
        seen = ("--trained-on", "ANERcorp dev", "--outside", "anercorp=0.5") if task == "ner" else ()
        run("bundle", task, tuned, graph, tmp_path / "bundles" / task, *seen)
        run("calibrate", task, tmp_path / "bundles" / task, data, tmp_path / f"{task}.json")
        chosen = json.loads((tmp_path / f"{task}.json").read_text())
        assert 0.5 <= chosen["temperatures"]["news"] <= 4
        assert chosen.get("outside", {}).get("anercorp") == (0.5 if task == "ner" else None)

    small = ("--layers", 1, "--inner", 64, "--rank", 32, "--rounds", 1)
    run("distil", tmp_path / "ner", data, tmp_path / "student", *small)
    more = ("--student", tmp_path / "student", "--raw", 0, "--rounds", 1)
    run("distil", tmp_path / "ner-mean", data, tmp_path / "fast", *more)
    run("export", "ner", tmp_path / "fast", tmp_path / "fast-graph", data)
    graph = tmp_path / "fast-graph" / "model.onnx"
    run("bundle", "ner", tmp_path / "fast", graph, tmp_path / "bundles/ner-fast", "--name", "rasad-ner-fast")
    assert load_bundle(tmp_path / "bundles/ner-fast", task="ner").manifest.name == "rasad-ner-fast"
    printed = run("held_out", tmp_path / "bundles/ner-fast", data, "tiny")
    assert [json.loads(line)["articles"] for line in printed.splitlines()] == [
        *("tiny", "all held out", "dev", "dev, other sources")
    ]

    run("measure", tmp_path / "bundles/ner", data, tmp_path / "figures.jsonl")
    metrics = load_bundle(tmp_path / "bundles/ner", task="ner").manifest.metrics
    assert {"news dev, 8 types", "news dev, quotes", "news dev, entity stances"} <= set(metrics)
    assert "ANERcorp dev, 4 types" not in metrics
    lines = [json.loads(line) for line in (tmp_path / "figures.jsonl").read_text().splitlines()]
    assert {"measure": "not measured", "what": "ANERcorp dev: the bundle was trained on it"} in lines

    enricher = Enricher.open(ner=tmp_path / "bundles/ner", stance=tmp_path / "bundles/stance")
    text = "\n\n".join((sentence(0), sentence(1)))
    (event,) = enricher.enrich([Record(value=text.encode())])
    assert isinstance(event, EnrichedEvent)
    assert {mention.surface for mention in event.mentions if mention.type == "PER"} & set(NAMES)
