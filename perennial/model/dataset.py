"""The matrices of a training, read once for all its candidates; the only place where its rows are in memory.

Whether they are enough was the plan's question.
"""

from dataclasses import dataclass
from threading import Lock

import numpy as np
import pyarrow as pa

from perennial.data.engine import Engine, quote
from perennial.model.encoding import Encoder, Matrix
from perennial.model.fitted import Sample
from perennial.model.metrics import Vector
from perennial.model.plan import PAST, RECENT, TrainingPlan, is_fit, open_rows
from perennial.model.reference import reference_features
from perennial.watch.drift import Bins
from perennial.workspace import Workspace

QUESTIONS = 20
_FIT_ROWS = "fit_rows"
_held: dict[tuple[str, str], "Dataset"] = {}
_holding = Lock()


@dataclass(frozen=True)
class Dataset:
    """What a candidate is fitted and judged on, rows by event time and key."""

    encoder: Encoder
    """Its categories are those of the fit rows."""
    sample: Sample
    x_holdout: Matrix
    y_holdout: Vector
    questions: pa.Table
    """Holdout rows at even distances, and one in which everything is missing."""
    reference: dict[str, Bins]
    """The features of the fit rows, binned."""


def load_dataset(ws: Workspace, plan: TrainingPlan) -> Dataset:
    """Read and encode the rows of a plan; this process keeps those of the newest plan until `forget_datasets`."""
    name = (ws.store.root, plan.key)
    with _holding:
        if name not in _held:
            _held.clear()
            _held[name] = _read(ws, plan)
        return _held[name]


def forget_datasets() -> None:
    """Let go of the rows, as when the last candidate of a training is fitted."""
    with _holding:
        _held.clear()


def _read(ws: Workspace, plan: TrainingPlan) -> Dataset:
    with Engine(ws.settings) as engine:
        open_rows(engine, ws, plan)
        engine.view(_FIT_ROWS, f"SELECT * FROM {PAST} WHERE {is_fit(plan)}")
        encoder = Encoder.learn(engine, _FIT_ROWS, plan.features, plan.categorical)
        x, y = _encoded(engine, encoder, PAST)
        x_holdout, y_holdout = _encoded(engine, encoder, RECENT)
        rows = plan.fit_rows.rows  # past rows are in the order of time, the fit rows first
        return Dataset(
            encoder=encoder,
            sample=Sample(x[:rows], y[:rows], x[rows:], y[rows:], encoder.is_categorical()),
            x_holdout=x_holdout,
            y_holdout=y_holdout,
            questions=_questions(engine, encoder, len(y_holdout)),
            reference=reference_features(engine, _FIT_ROWS, encoder),
        )


def _encoded(engine: Engine, encoder: Encoder, view: str) -> tuple[Matrix, Vector]:
    rows = int(engine.scalar(f"SELECT count(*) FROM {view}"))
    x, y = np.empty((rows, len(encoder.features)), dtype=np.float32), np.empty(rows)
    start = 0
    for batch in engine.batches(encoder.select(view, ["label"]), name="encode"):
        end = start + batch.num_rows
        x[start:end], y[start:end] = encoder.matrix(batch), batch.column(0).to_numpy()
        start = end
    return x, y


def _questions(engine: Engine, encoder: Encoder, rows: int) -> pa.Table:
    step = max(1, rows // QUESTIONS)
    listed = ", ".join(map(quote, encoder.features))
    numbered = f"SELECT {listed}, row_number() OVER () - 1 AS place FROM {RECENT}"
    asked = engine.table(f"SELECT {listed} FROM ({numbered}) WHERE place % {step} = 0 ORDER BY place LIMIT {QUESTIONS}")
    return pa.concat_tables([asked, pa.Table.from_pylist([{}], schema=asked.schema)])
