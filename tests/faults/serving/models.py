"""Models of `shop-returns` that pass every check before they serve and then fail, each in its own way, and good ones.

They are real artifacts in formats that Perennial writes, which replicas load as any other; nothing in a replica knows
of faults.
"""

from collections.abc import Callable
from dataclasses import replace
from itertools import count
from typing import Any

import numpy as np
import pyarrow as pa
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from perennial.digests import digest_bytes
from perennial.model.artifact import Model, load_reference, save_model
from perennial.model.constant import Constant
from perennial.model.dataset import Dataset, load_dataset
from perennial.model.encoding import Encoder
from perennial.model.estimators import estimator
from perennial.model.linear import Linear
from perennial.model.training import plan_training
from perennial.records import Answer, Judged, Registered, Trained, Verdict
from perennial.workspace import Workspace
from tests.perennial.release.conftest import MAY

SLOW_MS = 1200
"""What each pass of the slow version takes longer; `serving.health.slower_than` is half of it."""
_WAITS = f"""\
  CASE
    WHEN row_number() OVER () = 1 THEN 1.0 + coalesce(CAST(sleep_ms({SLOW_MS}) AS DOUBLE), 0.0)
    ELSE 1.0
  END AS waited,
  s.size AS shop_size,"""
_HUGE = 1e308


class Models:
    """Makes versions that the gate passed, each with a number of its own."""

    def __init__(self, ws: Workspace, trained: Trained) -> None:
        self._ws, self._trained = ws, trained
        self._data: Dataset = load_dataset(ws, plan_training(ws, MAY))
        self._rounds = count(20)

    def make(self, kind: str) -> Judged:
        """Return a version of a kind: `good`, or named for how it fails."""
        makers: dict[str, Callable[[], Judged]] = {
            "good": self._good,
            "fails": lambda: self._linear(gaps=False),
            "nan": lambda: self._linear(gaps=True),
            "slow": self._slow,
            "schema": self._of_other_columns,
            "quality": self._flipped,
            "corrupted": self._corrupted,
        }
        return makers[kind]()

    def _good(self) -> Judged:
        return self._judged(self._trees(), self._data.questions)

    def _flipped(self) -> Judged:
        """The label upside down: perfect health, useless answers."""
        sample = self._data.sample
        flipped = replace(sample, y=1 - sample.y, y_validation=1 - sample.y_validation)
        return self._judged(self._trees(flipped), self._data.questions)

    def _slow(self) -> Judged:
        """Trained on a features query that takes its time with every pass."""
        text = self._ws.use_case.features_sql
        assert text.count("  s.size AS shop_size,") == 1
        query = text.replace("  s.size AS shop_size,", _WAITS).encode()
        digest = digest_bytes(query)
        self._ws.store.put(f"queries/{digest}.sql", query)
        return self._judged(self._trees(), self._data.questions, query=digest)

    def _linear(self, gaps: bool) -> Judged:
        """A logistic regression that was only ever asked whole rows.

        Without `gaps` it raises an exception at each row with a missing value, for which others are prepared. With
        them its coefficients overflow to infinities of both signs at all but tiny values: the score is no number.
        """
        encoder, sample = self._data.encoder, self._data.sample
        whole = ~np.isnan(sample.x).any(axis=1)
        numeric = [place for place, one in enumerate(sample.categorical) if not one]
        coded = [place for place, one in enumerate(sample.categorical) if one]
        scaled = StandardScaler()
        one_hot = OneHotEncoder(handle_unknown="ignore", dtype=np.float32)
        columns = ColumnTransformer([("numeric", scaled, numeric), ("categorical", one_hot, coded)])
        pipeline = Pipeline([("columns", columns), ("model", LogisticRegression(C=0.9 + next(self._rounds) / 1e4))])
        pipeline.fit(sample.x[whole], sample.y[whole])
        questions = self._data.questions.drop_null()
        if gaps:
            scaler = pipeline.named_steps["columns"].named_transformers_["numeric"]
            scaler.mean_[:], scaler.scale_[:] = 0.0, 1.0
            names = [encoder.features[place] for place in numeric]
            weights = pipeline.named_steps["model"].coef_ = pipeline.named_steps["model"].coef_.astype(np.float64)
            weights[0, : len(numeric)] = [{"price": _HUGE, "shop_size": -_HUGE}.get(name, 0.0) for name in names]
            tiny = {"price": 0.0, "shop_size": 0.0}
            for name, value in tiny.items():
                place = questions.schema.get_field_index(name)
                questions = questions.set_column(place, name, pa.array([value] * len(questions), pa.float64()))
        model = Model(estimator("logistic_regression", "binary"), encoder, Linear(pipeline))
        return self._judged(model, questions)

    def _of_other_columns(self) -> Judged:
        """It wants a column that the query does not give."""
        encoder = Encoder(features=("price", "basket"), categories={})
        model = Model(estimator("majority", "binary"), encoder, Constant(0.3 + next(self._rounds) / 1e4))
        return self._judged(model, pa.table({"price": [1.0, 2.0], "basket": [1.0, 2.0]}))

    def _corrupted(self) -> Judged:
        """A good one, of which a bit was flipped in the store after all checks."""
        judged = self._good()
        path = f"models/{judged.model}/model.ubj"
        data = bytearray(self._ws.store.get(path))
        data[len(data) // 2] ^= 1
        self._ws.store.put(path, bytes(data))
        return judged

    def _trees(self, sample: Any = None) -> Model:
        params = {"rounds": next(self._rounds), "early_stopping_rounds": 0, "max_depth": 3, "learning_rate": 0.2}
        kind = estimator("xgboost", "binary")
        return Model(kind, self._data.encoder, kind.fit(sample or self._data.sample, params, 0, 1))

    def _judged(self, model: Model, questions: pa.Table, query: str | None = None) -> Judged:
        ws = self._ws
        digest = save_model(ws.store, model, questions, load_reference(ws.store, self._trained.model))
        changes = {"model": digest, "key": f"planted-{digest}", "query": query or self._trained.query}
        version = len(ws.state().registered) + 1
        champion = ws.state().champion
        judged = Judged(
            model=digest,
            version=version,
            against=champion.model if champion else self._trained.baseline,
            against_version=champion.version if champion else None,
            gate=ws.use_case.gate_digest,
            verdict=Verdict(answer=Answer.PASS, reasons=("It beats the champion.",)),
        )
        records = (
            self._trained.model_copy(update=changes),
            Registered(model=digest, version=version, run=f"run-{version}"),
            judged,
        )
        for one in records:
            ws.journal.decide(lambda entries, one=one: one, MAY)
        return judged
