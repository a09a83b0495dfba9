"""Small fitted models and artifacts made from arrays, for tests that need no lake; it asserts nothing."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from perennial.data.engine import Engine
from perennial.digests import canonical_json, digest_bytes
from perennial.model.artifact import Model, save_model
from perennial.model.encoding import Encoder
from perennial.model.estimators import estimator
from perennial.model.fitted import Sample
from perennial.model.reference import reference_features, reference_of
from perennial.settings import Settings
from perennial.store import Store

FEATURES = ("size", "colour", "age")
COLOURS = ("blue", "green", "red")
ENCODER = Encoder(features=FEATURES, categories={"colour": COLOURS})


def make_engine() -> Engine:
    """Open an engine of one thread, alone in its process."""
    return Engine(Settings(environment="test", storage_root="", threads=1), alone=True)


def make_rows(rows: int = 300, seed: int = 0) -> pa.Table:
    """Draw feature rows, some with missing values, one colour among them that the encoder does not know."""
    random = np.random.default_rng(seed)
    size = random.normal(0, 2, rows)
    size[random.random(rows) < 0.1] = np.nan
    colour = np.array([*COLOURS, "violet"], dtype=object)[random.integers(0, 4, rows)]
    colour[random.random(rows) < 0.1] = None
    return pa.table({"size": size, "colour": pa.array(colour, pa.string()), "age": random.integers(0, 90, rows)})


def make_matrix(rows: pa.Table) -> Any:
    """Encode feature rows."""
    with make_engine() as engine:
        engine.arrow("rows", rows)
        return ENCODER.matrix(engine.table(ENCODER.select("rows")))


def make_sample(rows: int = 300, task: str = "binary") -> Sample:
    """Draw a sample whose label depends on all three columns; the last third is for validation."""
    x = make_matrix(make_rows(rows))
    signal = np.nan_to_num(x[:, 0]) + (x[:, 1] == 0) - x[:, 2] / 45
    noise = np.random.default_rng(1).normal(0, 0.5, rows)
    y = (signal + noise > 0).astype(float) if task == "binary" else signal + noise
    cut = rows * 2 // 3
    return Sample(x[:cut], y[:cut], x[cut:], y[cut:], (False, True, False))


def make_model(name: str = "xgboost", task: str = "binary", rows: int = 300) -> Model:
    """Fit a model on the sample of that size."""
    kind = estimator(name, task)
    params = {"rounds": 8, "max_depth": 3} if name == "xgboost" else {}
    return Model(kind, ENCODER, kind.fit(make_sample(rows, task), params, seed=0, threads=1))


def make_artifact(folder: Path, name: str = "xgboost", task: str = "binary") -> tuple[Store, str]:
    """Save a model below a folder and return the store with the digest."""
    store, model, rows = Store(str(folder)), make_model(name, task), make_rows()
    with make_engine() as engine:
        engine.arrow("rows", rows)
        reference = reference_of(engine, reference_features(engine, "rows", ENCODER), model.score(rows), len(rows))
    return store, save_model(store, model, rows.slice(0, 20), reference)


def forge(store: Store, digest: str, changes: dict[str, Callable[[bytes], bytes]]) -> str:
    """Write a copy of an artifact with changed files and a manifest that agrees with them, as a forger would."""
    manifest = json.loads(store.get(f"models/{digest}/manifest.json"))
    contents = {name: store.get(f"models/{digest}/{name}") for name in manifest["files"]}
    contents |= {name: change(contents.get(name, b"")) for name, change in changes.items()}
    manifest["files"] = {
        name: {"digest": digest_bytes(data), "bytes": len(data)} for name, data in sorted(contents.items())
    }
    named = canonical_json(manifest)
    forged = digest_bytes(named)
    for name, data in {**contents, "manifest.json": named}.items():
        store.put(f"models/{forged}/{name}", data)
    return forged
