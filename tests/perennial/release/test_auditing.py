"""The audit of online answers: the same offline, whatever was delivered since, and a FAIL that names the feature."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import product
from typing import Any

import numpy as np
import pytest

from perennial.data.online import OnlineFeatures
from perennial.model.artifact import Model, load_model, load_reference, save_model
from perennial.model.dataset import load_dataset
from perennial.model.encoding import Encoder, Matrix
from perennial.model.estimators import estimator
from perennial.model.training import plan_training
from perennial.records import Answer
from perennial.release.answer_rows import segment_path, write_segment
from perennial.release.answers import collect_answers
from perennial.release.auditing import audit_answers
from perennial.workspace import Workspace
from tests.builders import CHANNELS, SHOPS, deliver, features_sql, moment, write_month
from tests.perennial.release.conftest import MAY, Shop

JUNE = moment("2024-06-01")
APRIL = moment("2024-04-20")


def request(name: str, **fields: Any) -> dict[str, Any]:
    return {"order_id": name, "ordered_at": APRIL, "price": 9.5, "channel": "app", "shop": "bonn"} | fields


def answered(
    shop: Shop,
    rows: Sequence[dict[str, Any]],
    spoil: Callable[[dict[str, Any]], Any] = lambda features: None,
    number: int = 1,
    off: float = 0.0,
) -> Workspace:
    """Answer some requests one by one as a replica does that follows the journal, log the answers and collect them."""
    ws = audited(shop.ws, 1.0)
    with OnlineFeatures(ws, APRIL) as online:
        model = load_model(ws.store, shop.trained.model)
        asked = online.prepared(model.encoder).ask(rows)
        reference = online.reference
    given, version = asked.dicts(), ws.state().registered[shop.trained.model].version
    scores = [float(model.fitted.scores(one)[0]) for one in np.split(asked.matrix, len(rows))]
    for one in given:
        spoil(one)
    logged = [
        {"row": row, "features": features, "prediction_id": f"{number}-{place}/0", "features_digest": reference}
        | {
            "request_id": f"{number}-{place}",
            "predicted_at": APRIL,
            "model_version": version,
            "release": 1,
            "score": scores[place] + off,
        }
        | {"arm": "champion", "rollout": None, "shadow_score": None, "shadow_version": None}
        for place, (row, features) in enumerate(zip(rows, given, strict=True))
    ]
    ws.store.create(segment_path(ws, "replica", number), write_segment(ws.use_case, logged))
    collect_answers(ws, JUNE)
    return ws


def audited(ws: Workspace, share: float) -> Workspace:
    """Declare that share to be audited."""
    declared = ws.use_case.model_dump(mode="json") | {"serving": {"audit": share, "history": "200d"}}
    use_case = type(ws.use_case).model_validate(declared)
    use_case._slug, use_case._folder = ws.use_case.slug, ws.use_case.folder
    return Workspace(use_case, ws.settings)


def test_what_is_not_finite_counts_as_missing(shop: Shop) -> None:
    ws = answered(shop, [request("a", shop="nowhere")], lambda features: features.update(shop_size=float("inf")))
    found = audit_answers(ws, JUNE)
    assert found is not None
    assert found.verdict.answer is Answer.PASS


def test_answers_that_training_would_have_scored_pass_once(shop: Shop) -> None:
    rows = [request("a"), request("b", price=None, channel="unheard of", shop="nowhere"), request("a", shop="celle")]
    ws = answered(shop, rows)
    record = audit_answers(ws, JUNE)
    assert record is not None
    assert (record.verdict.answer, record.rows, len(record.batches)) == (Answer.PASS, 3, 1)
    assert ws.state().audited == [record]
    assert audit_answers(ws, JUNE) is None


def test_a_difference_fails_and_names_feature_and_answer(shop: Shop) -> None:
    def spoil(features: dict[str, Any]) -> None:
        features["known_rate"] += 1e-6

    record = audit_answers(answered(shop, [request("a"), request("b")], spoil), JUNE)
    assert record is not None
    assert record.verdict.answer is Answer.FAIL
    assert record.verdict.numbers["differs:known_rate"] == 2
    assert [name for name in record.verdict.numbers if name.startswith("differs:")] == ["differs:known_rate"]
    assert "`known_rate`" in record.verdict.reasons[0]
    assert "`1-0/0`" in record.verdict.reasons[0]


def test_a_score_that_the_model_does_not_give_such_features_fails(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def encode(encoder: Encoder, rows: Sequence[Sequence[Any]]) -> Matrix:
        return np.nan_to_num(encode_plainly(encoder, rows))

    encode_plainly = Encoder.encode
    monkeypatch.setattr(Encoder, "encode", encode)
    record = audit_answers(answered(shop, [request("a"), request("b", channel="unheard of")]), JUNE)
    assert record is not None
    assert record.verdict.answer is Answer.FAIL
    assert {name: one for name, one in record.verdict.numbers.items() if "differs" in name} == {"differs:score": 1}
    assert "`score` differs in 1 of 2 answers" in record.verdict.reasons[0]
    assert "`1-1/0`" in record.verdict.reasons[0]


@pytest.mark.parametrize(("off", "differing"), [(0.0, 0), (1e3, 720)])
def test_a_value_that_is_small_beside_what_it_sums_may_have_other_last_bits(
    shop: Shop, off: float, differing: int
) -> None:
    """A row that was scored alone has others than the same row among others."""
    data = load_dataset(shop.ws, plan_training(shop.ws, MAY))
    x = np.nan_to_num(data.sample.x)
    ridge = estimator("ridge", "regression")
    sample = replace(data.sample, y=1e6 * ((x - x.mean(axis=0)) / x.std(axis=0)).sum(axis=1))
    model = Model(ridge, data.encoder, ridge.fit(sample, {}, 0, 1))
    digest = save_model(shop.ws.store, model, data.questions, load_reference(shop.ws.store, shop.trained.model))
    planted = shop.register(shop.trained.model_copy(update={"model": digest, "key": "planted"}))
    rows = [
        request(f"{channel}-{place}-{price}", price=price, channel=channel, shop=place)
        for channel, place, price in product(CHANNELS, SHOPS, np.linspace(1, 150, 60).tolist())
    ]
    record = audit_answers(answered(replace(shop, trained=planted), rows, off=off), JUNE)
    assert record is not None
    assert record.verdict.numbers.get("differs:score", 0) == differing, record.verdict.reasons


def test_a_model_that_is_gone_is_inconclusive_and_told(shop: Shop) -> None:
    ws = answered(shop, [request("a")])
    ws.store.delete(f"models/{shop.trained.model}/manifest.json")
    record = audit_answers(ws, JUNE)
    assert record is not None
    assert (record.verdict.answer, record.rows) == (Answer.INCONCLUSIVE, 0)
    assert "`manifest.json` does not exist" in record.verdict.reasons[0]


def test_a_feature_that_was_not_scored_is_a_difference(shop: Shop) -> None:
    record = audit_answers(answered(shop, [request("a")], lambda features: features.pop("shop_size")), JUNE)
    assert record is not None
    assert record.verdict.numbers["differs:shop_size"] == 1


def test_what_was_delivered_or_changed_since_does_not_count(shop: Shop) -> None:
    ws = answered(shop, [request("a"), request("b")])
    write_month(ws.use_case.folder, "2024-03", rows=50, seed=99)
    deliver(ws, "2024-03", as_of=JUNE)
    (ws.use_case.folder / "features.sql").write_text(features_sql() + "-- changed")
    try:
        record = audit_answers(ws, JUNE)
    finally:
        (ws.use_case.folder / "features.sql").write_text(features_sql())
        write_month(ws.use_case.folder, "2024-03", rows=400, seed=2)
    assert record is not None
    assert record.verdict.answer is Answer.PASS


def test_a_request_for_the_future_rests_on_what_was_known(shop: Shop) -> None:
    record = audit_answers(answered(shop, [request("a", ordered_at=JUNE + timedelta(days=900))]), JUNE)
    assert record is not None
    assert record.verdict.answer is Answer.PASS


def test_a_reference_that_is_gone_is_inconclusive_and_told(shop: Shop) -> None:
    ws = answered(shop, [request("a")])
    for path in ws.store.list(f"references/{ws.use_case.slug}"):
        ws.store.delete(path)
    record = audit_answers(ws, JUNE)
    assert record is not None
    assert (record.verdict.answer, record.rows) == (Answer.INCONCLUSIVE, 0)
    assert "does not exist" in record.verdict.reasons[0]


def test_of_few_answers_one_is_audited_and_without_a_share_none(shop: Shop) -> None:
    ws = answered(shop, [request(str(number)) for number in range(5)])
    assert audit_answers(audited(ws, 0), JUNE) is None
    record = audit_answers(audited(ws, 1e-6), JUNE)
    assert record is not None
    assert record.rows == 1
