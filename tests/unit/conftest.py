from __future__ import annotations

from collections.abc import Callable

import pytest

from rasad.enrich.enricher import Enricher
from rasad.enrich.reading import Document, documents
from rasad.enrich.stance import StanceModel
from rasad.inference.bundle import Bundle, load_bundle
from rasad.inference.engine import Engine


@pytest.fixture(scope="session")
def ner_bundle() -> Bundle:
    return load_bundle(None, task="ner")


@pytest.fixture(scope="session")
def ner_engine(ner_bundle: Bundle) -> Engine:
    return Engine.open(ner_bundle, threads=1)


@pytest.fixture(scope="session")
def stance_model() -> StanceModel:
    return StanceModel(Engine.open(load_bundle(None, task="stance"), threads=1))


@pytest.fixture(scope="session")
def enricher(ner_engine: Engine, stance_model: StanceModel) -> Enricher:
    return Enricher(ner_engine, stance_model)


@pytest.fixture(scope="session")
def read(ner_engine: Engine) -> Callable[[str, str], Document]:
    return lambda title, body: documents(ner_engine, [(title, body)])[0]
