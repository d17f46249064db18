"""What the core measures of itself."""

from __future__ import annotations

import subprocess
import sys

from prometheus_client import REGISTRY

from rasad.enrich.enricher import Enricher
from rasad.enrich.stance import StanceModel
from rasad.inference.engine import Engine
from rasad.messages import Record

TEXT = "وزير الصحة يزور عمان\n\nقال الوزير إن الحملة بدأت في الزرقاء. وشكر منظمة الصحة العالمية."


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_stages_and_tokens_of_a_batch(ner_engine: Engine, stance_model: StanceModel) -> None:
    enricher = Enricher(ner_engine, stance_model)
    stages = ("decode", "tokenise", "encode", "annotate")
    before = {stage: value("rasad_stage_seconds_count", stage=stage) for stage in stages}
    real, padded = (value(f"rasad_encoder_{kind}_tokens_total", task="ner") for kind in ("real", "padded"))
    enricher.enrich([Record(value=TEXT.encode()), Record(value=f"{TEXT} {TEXT}".encode()), Record(value=b"")])
    assert all(value("rasad_stage_seconds_count", stage=stage) > before[stage] for stage in stages)
    more_real = value("rasad_encoder_real_tokens_total", task="ner") - real
    more_padded = value("rasad_encoder_padded_tokens_total", task="ner") - padded
    assert 0 < more_real < more_padded < 2 * more_real


def test_the_worker_imports_no_training_library() -> None:
    modules = ("rasad.cli", "rasad.streams.faust_worker", "rasad.streams.transactional_worker", "rasad.enrich.enricher")
    heavy = "{'torch', 'transformers', 'onnx', 'safetensors', 'pandas', 'pyarrow', 'jinja2', 'hypothesis'}"
    done = subprocess.run(
        [sys.executable, "-c", f"import {', '.join(modules)}, sys; print(sorted({heavy} & sys.modules.keys()))"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
