"""What `make bench-serving` asks about: flights up to April in a lake, the model that is trained on them, requests.

They are made in `.bench/serving`. Ready-made numbers have 0 for what is missing, since not every protocol has
a missing value; that makes them neither slower nor faster to score.
"""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from perennial.data.engine import Engine
from perennial.data.online import OnlineFeatures
from perennial.data.views import open_views
from perennial.model.artifact import load_model
from perennial.model.training import train
from perennial.periods import Period
from perennial.records import Registered, Released, Trained
from perennial.settings import Settings
from perennial.workspace import Workspace
from tests.builders import deliver

ROOT = Path(__file__).parents[3]
SLUG, MONTHS = "flight-delay", ("2013-01", "2013-02", "2013-03", "2013-04")
BATCH, BATCHES = 100, 20


@dataclass(frozen=True)
class Prepared:
    """Where everything is."""

    home: Path

    @property
    def storage(self) -> Path:
        return self.home / "storage"

    @property
    def model(self) -> Path:
        """The booster as UBJ."""
        return self.home / "model.ubj"

    @property
    def matrix(self) -> Path:
        """Ready-made numbers, shape (BATCH, features)."""
        return self.home / "matrix.npy"

    def bodies(self, protocol: str, form: str) -> Path:
        """Requests of a protocol, one per line; the form `alone` asks what `single` does."""
        return self.home / f"{protocol}-{'batch' if form == 'batch' else 'single'}.jsonl"


def prepare(home: Path) -> Prepared:
    """Make all of it anew: half a minute, and nothing is left of what the last run answered."""
    shutil.rmtree(home, ignore_errors=True)
    prepared = Prepared(home)
    settings = Settings(environment="bench", storage_root=str(prepared.storage), use_cases=str(ROOT / "use_cases"))
    ws = Workspace.open(SLUG, settings)
    _write_bodies(ws, _released(ws), prepared)
    return prepared


def _released(ws: Workspace) -> Trained:
    """Deliver, train and release without asking gate and registry, which no service notices."""
    at = Period.parse(MONTHS[-1]).end
    deliver(ws, *MONTHS)
    trained = train(ws, at)
    ws.journal.decide(lambda entries: Registered(model=trained.model, version=1, run="bench"), at)
    released = Released(number=1, model=trained.model, version=1, replaces=None, reason="bench")
    ws.journal.decide(lambda entries: released, at)
    return trained


def _write_bodies(ws: Workspace, trained: Trained, prepared: Prepared) -> None:
    at = Period.parse(MONTHS[-1]).end
    with Engine(ws.settings) as engine:
        open_views(engine, ws, at)
        names = list(ws.use_case.sources[ws.use_case.entity].columns)
        newest = engine.table(f"SELECT * FROM observations ORDER BY event_time DESC LIMIT {BATCH * BATCHES}")
    rows = newest.select(names).to_pylist()
    model = load_model(ws.store, trained.model)
    with OnlineFeatures(ws, at) as features:
        matrix = np.nan_to_num(features.prepared(model.encoder).ask(rows).matrix)
    prepared.model.write_bytes(model.fitted.save())
    np.save(prepared.matrix, matrix[:BATCH])
    _write(prepared, "ours", "single", rows)
    _write(prepared, "ours", "batch", [{"rows": some} for some in _batches(rows)])
    for form, parts in (("single", matrix[:, None, :]), ("batch", matrix.reshape(BATCHES, BATCH, -1))):
        lists = [np.round(one.astype(float), 6).tolist() for one in parts]
        for protocol, write in _protocols(model.encoder.features).items():
            _write(prepared, protocol, form, [write(one) for one in lists])


def _protocols(names: Sequence[str]) -> dict[str, Callable[[list[list[float]]], Any]]:
    return {
        "array": lambda rows: {"inputs": rows},
        "frame": lambda rows: {"dataframe_split": {"columns": names, "data": rows}},
        "kserve": lambda rows: {"parameters": {"content_type": "np"}, "inputs": [_tensor(rows)]},
        "bento": lambda rows: {"x": rows},
    }


def _batches(rows: list[Any]) -> list[list[Any]]:
    return [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]


def _tensor(rows: list[list[float]]) -> dict[str, Any]:
    flat = [value for row in rows for value in row]
    parameters = {"content_type": "np"}
    return {"name": "x", "shape": [len(rows), len(rows[0])], "datatype": "FP32", "data": flat, "parameters": parameters}


def _write(prepared: Prepared, protocol: str, form: str, bodies: list[Any]) -> None:
    prepared.bodies(protocol, form).write_bytes(b"\n".join(orjson.dumps(one) for one in bodies) + b"\n")


def first_body(path: Path) -> bytes:
    """Return the first request of a file."""
    with path.open("rb") as lines:
        return lines.readline().strip()


def write_json(path: Path, content: Any) -> None:
    """Write a settings file of a contender."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
