"""Batches of predictions: every row once, by the champion of the moment, and nothing ever overwritten."""

import json
from datetime import datetime
from typing import Any

import numpy as np
import pytest

from perennial.data import lake
from perennial.data.engine import Engine
from perennial.data.features import snapshot_view
from perennial.data.observing import NotBegun
from perennial.journal import Journal
from perennial.model.artifact import InvalidModel, load_model
from perennial.model.constant import Constant
from perennial.periods import Period
from perennial.records import Entry, Predicted, Record
from perennial.release.predictions import NothingReleased, batch_name, predict, prediction_rows
from perennial.workspace import Workspace
from tests.builders import deliver, moment, write_month
from tests.perennial.release.conftest import MAY, Shop

APRIL = Period.parse("2024-04")


class DiesBeforeItRecords(Journal):
    """A journal whose writer is killed right before the record of a prediction."""

    def append(self, record: Record, at: datetime, head: int) -> Entry:
        if isinstance(record, Predicted):
            raise KeyboardInterrupt
        return super().append(record, at, head)


def rows(ws: Workspace, *batches: Predicted) -> list[dict[str, Any]]:
    with Engine(ws.settings) as engine:
        prediction_rows(engine, ws, [batch_name(one) for one in batches], "scored")
        return engine.table("SELECT * FROM scored ORDER BY order_id, release").to_pylist()


def correct_april(ws: Workspace, at: datetime) -> None:
    """Deliver April once more with 300 other orders, and leave the files, which all tests share, as they were."""
    kept = {file: file.read_bytes() for file in (ws.use_case.folder / "deliveries").glob("*-2024-04.csv")}
    try:
        write_month(ws.use_case.folder, "2024-04", 300, seed=99)
        deliver(ws, "2024-04", as_of=at)
    finally:
        for file, content in kept.items():
            file.write_bytes(content)


def test_every_row_of_the_period_is_scored_once(shop: Shop) -> None:
    champion = shop.serve(shop.trained)
    predicted = predict(shop.ws, APRIL, MAY)
    assert (predicted.rows, predicted.release, predicted.version) == (400, 1, 1)
    assert predicted.model == champion.model and predicted.snapshot.startswith("2024-04.")
    found = rows(shop.ws, predicted)
    assert [one["order_id"] for one in found] == [f"2024-04-{number:06d}" for number in range(400)]
    assert found[0].keys() == {
        "prediction_id", "order_id", "event_time", "predicted_at", "model_version", "release", "score",
        "features_digest", "batch",
    }  # fmt: skip
    assert {json.loads(one["prediction_id"])["order_id"] for one in found} == {one["order_id"] for one in found}
    shared = {(one["predicted_at"], one["model_version"], one["release"], one["batch"]) for one in found}
    assert shared == {(MAY, 1, 1, batch_name(predicted))}
    assert {one["features_digest"] for one in found} == {predicted.snapshot}


def test_the_scores_are_those_of_the_model(shop: Shop) -> None:
    shop.serve(shop.trained)
    predicted = predict(shop.ws, APRIL, MAY)
    with Engine(shop.ws.settings) as engine:
        snapshot_view(engine, shop.ws, [predicted.snapshot], "features")
        features = engine.table("SELECT * FROM features ORDER BY order_id")
    expected = load_model(shop.ws.store, shop.trained.model).score(features)
    assert np.array_equal([one["score"] for one in rows(shop.ws, predicted)], expected)


def test_predicting_again_changes_nothing(shop: Shop) -> None:
    shop.serve(shop.trained)
    predicted = predict(shop.ws, APRIL, MAY)
    head, version = shop.ws.state().seq, lake.version(shop.ws, "predictions")
    assert predict(shop.ws, APRIL, MAY) == predict(shop.ws, APRIL, moment("2024-06-01")) == predicted
    assert (shop.ws.state().seq, lake.version(shop.ws, "predictions")) == (head, version)


def test_a_new_release_is_a_new_batch_beside_the_old_one(shop: Shop) -> None:
    shop.serve(shop.trained)
    first = predict(shop.ws, APRIL, MAY)
    before = rows(shop.ws, first)
    shop.serve(shop.plant(fitted=Constant(0.25)))
    second = predict(shop.ws, APRIL, MAY)
    assert (second.release, second.version, second.snapshot) == (2, 2, first.snapshot)
    assert {one["score"] for one in rows(shop.ws, second)} == {0.25}
    assert rows(shop.ws, first) == before
    assert len(rows(shop.ws, first, second)) == 800


def test_corrected_rows_are_a_new_batch_beside_the_old_one(shop: Shop) -> None:
    shop.serve(shop.trained)
    first = predict(shop.ws, APRIL, MAY)
    before = rows(shop.ws, first)
    correct_april(shop.ws, moment("2024-05-02"))
    second = predict(shop.ws, APRIL, moment("2024-05-03"))
    assert second.snapshot != first.snapshot and second.rows == 300
    assert rows(shop.ws, first) == before
    assert predict(shop.ws, APRIL, MAY) == first, "what was known then is found again"


def test_the_champion_of_the_moment_scores(shop: Shop) -> None:
    shop.serve(shop.trained, at=moment("2024-05-10"))
    shop.serve(shop.plant(fitted=Constant(0.25)), at=moment("2024-05-20"))
    for day, release in (("2024-05-10", 1), ("2024-05-15", 1), ("2024-05-20", 2)):
        assert predict(shop.ws, APRIL, moment(day)).release == release
    with pytest.raises(NothingReleased, match="No version of `shop-returns` was released by 2024-05-09"):
        predict(shop.ws, APRIL, moment("2024-05-09"))


def test_a_period_that_has_not_begun_is_refused_and_nothing_is_recorded(shop: Shop) -> None:
    shop.serve(shop.trained, at=moment("2024-03-01"))
    head = shop.ws.state().seq
    with pytest.raises(NotBegun, match=r"`2024-04` of `shop-returns` begins at 2024-04-01 00:00 UTC, .* a later `--as"):
        predict(shop.ws, APRIL, moment("2024-03-19"))
    assert shop.ws.state().seq == head and lake.version(shop.ws, "predictions") is None


def test_without_a_champion_nothing_is_scored(shop: Shop) -> None:
    head = shop.ws.state().seq
    with pytest.raises(NothingReleased, match="Train, register and deploy one first"):
        predict(shop.ws, APRIL, MAY)
    assert shop.ws.state().seq == head and lake.version(shop.ws, "predictions") is None


def test_a_writer_killed_between_lake_and_journal_doubles_nothing(shop: Shop) -> None:
    shop.serve(shop.trained)
    killed = Workspace(shop.ws.use_case, shop.ws.settings)
    killed.__dict__["journal"] = DiesBeforeItRecords(shop.ws.store, "shop-returns")
    with pytest.raises(KeyboardInterrupt):
        predict(killed, APRIL, MAY)
    assert lake.version(shop.ws, "predictions") is not None and not shop.ws.state().predicted
    predicted = predict(shop.ws, APRIL, MAY)
    assert len(rows(shop.ws, predicted)) == predicted.rows == 400


def test_a_changed_model_scores_nothing(shop: Shop) -> None:
    shop.serve(shop.trained)
    path = f"models/{shop.trained.model}/encoder.json"
    shop.ws.store.put(path, shop.ws.store.get(path).replace(b"app", b"apq"))
    with pytest.raises(InvalidModel, match=r"encoder\.json"):
        predict(shop.ws, APRIL, MAY)
    assert lake.version(shop.ws, "predictions") is None
