"""Two models on logged requests with labels that came late: who answered makes no difference, who is right does."""

from datetime import datetime
from typing import Any

import numpy as np
import pytest

from perennial.model.artifact import load_model
from perennial.model.constant import Constant
from perennial.records import Answer, Judged, ProbationEnded, Released, ReleaseServed, RolloutEnded, Verdict
from perennial.release import paired_losses
from perennial.release.guarding import guard
from perennial.release.paired_losses import Comparison, NotComparable, compare, span_means
from perennial.release.predictions import predict
from perennial.release.reports import Counts
from perennial.release.rollout import begin
from perennial.release.rollout_decision import CHECKS, Losses, on_losses, threshold
from perennial.workspace import Workspace
from tests.builders import moment
from tests.faults.serving.models import Models
from tests.perennial.release.conftest import MAY, Shop, with_labels
from tests.perennial.release.test_predictions import APRIL
from tests.perennial.release.trials import CANARY, collect, known_features, record, replicas, serving_online

LATE = moment("2024-05-20")
QUALITY = {**CANARY, "trial": {"min_answers": 100, "max_loss": 0.01}}


@pytest.fixture
def rows(shop: Shop) -> list[dict[str, Any]]:
    """The orders of April as a service logs them; release 1 is the honest model."""
    shop.serve(shop.trained)
    return known_features(shop.ws, predict(shop.ws, APRIL, MAY).snapshot)


def losses(ws: Workspace, new: str, old: str, batches: list[str], as_of: datetime = LATE, **more: Any) -> Any:
    found = Comparison(new, old, batches, more.pop("condition", "TRUE"), None, 0.01, **more)
    return compare(ws, found, as_of)


def test_the_difference_of_the_brier_scores_is_that_of_the_models(shop: Shop, rows: list[dict[str, Any]]) -> None:
    collect(shop.ws, "online.a", rows[:150], LATE)
    collect(shop.ws, "online.b", rows[150:], LATE)
    half = shop.plant(fitted=Constant(0.5))
    found = losses(shop.ws, half.model, shop.trained.model, ["online.a", "online.b"])
    assert len(found.values) == found.compared == 400 and found.limit == 0.01
    assert found.values.mean() > 0.03, "0.25 for saying nothing, less for an honest model"
    swapped = losses(shop.ws, shop.trained.model, half.model, ["online.a", "online.b"])
    assert np.allclose(found.values, -swapped.values)
    assert found.difference == pytest.approx(swapped.difference) and found.difference > 0


def test_beyond_the_first_rows_some_of_each_hour_are_compared(
    shop: Shop, rows: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paired_losses, "MOST_ROWS", 10)
    monkeypatch.setattr(paired_losses, "MOST_PER_HOUR", 2)
    collect(shop.ws, "online.a", rows[:150], LATE)
    collect(shop.ws, "online.b", rows[150:], LATE.replace(hour=3))
    later = LATE.replace(hour=4)
    found = losses(shop.ws, shop.trained.model, shop.trained.model, ["online.a", "online.b"], later)
    assert found.compared == 10 + 2


def test_an_hour_that_is_over_counts_by_the_labels_that_were_there_when_it_had_enough() -> None:
    values = np.array([0.1] * 30 + [0.9] * 10 + [0.2] * 29)
    spans, arrived = np.repeat([0, 1000], [40, 29]), np.arange(69)
    assert span_means(values, spans, arrived, 10) == pytest.approx([0.1]), "later labels change nothing; 29 are too few"
    assert span_means(values, spans, arrived, 1000) == pytest.approx([0.3]), "they had arrived when it was over"
    together = np.where(arrived < 29, arrived, 29)
    assert span_means(values, spans, together, 10) == pytest.approx([0.3]), "what arrives at one moment counts together"


def test_hours_are_told_apart_and_mature_labels_by_the_day(shop: Shop, rows: list[dict[str, Any]]) -> None:
    half = shop.plant(fitted=Constant(0.5))
    for hour in range(4):
        collect(shop.ws, f"online.{hour}", rows[100 * hour : 100 * hour + 100], LATE.replace(hour=hour))
    batches = [f"online.{hour}" for hour in range(4)]
    found = losses(shop.ws, half.model, shop.trained.model, batches, LATE.replace(hour=3, minute=30))
    assert len(found.spans) == 3, "the fourth hour is not over"
    assert found.spans.mean() == pytest.approx(found.values[:300].mean(), abs=0.05)
    mature = losses(shop.ws, half.model, shop.trained.model, batches, LATE.replace(day=22), mature=True)
    assert len(mature.spans) == 1 and mature.spans[0] == pytest.approx(mature.values.mean(), abs=0.05)


def test_a_label_upside_down_shows_within_minutes(shop: Shop, rows: list[dict[str, Any]]) -> None:
    flipped = shop.plant(with_labels(lambda y, x: 1 - y))
    collect(shop.ws, "online.a", rows, LATE)
    found = losses(shop.ws, flipped.model, shop.trained.model, ["online.a"])
    for known in (Losses(found.values[:200], found.limit), found):
        assert on_losses(known, threshold(0.05, CHECKS), 0).answer is Answer.FAIL


def test_a_model_loses_nothing_against_itself(shop: Shop, rows: list[dict[str, Any]]) -> None:
    collect(shop.ws, "online.a", rows, LATE)
    found = losses(shop.ws, shop.trained.model, shop.trained.model, ["online.a"])
    assert len(found.values) == 400 and not found.values.any() and found.difference == 0


def test_scores_come_from_the_logged_features(shop: Shop, rows: list[dict[str, Any]]) -> None:
    changed = [{**one, "features": {**one["features"], "price": 1e6}} for one in rows]
    collect(shop.ws, "online.a", changed, LATE)
    half = shop.plant(fitted=Constant(0.5))
    found = losses(shop.ws, half.model, shop.trained.model, ["online.a"])
    model = load_model(shop.ws.store, shop.trained.model)
    import pyarrow as pa

    scores = model.score(pa.Table.from_pylist([one["features"] for one in changed]))
    assert found.difference == pytest.approx(np.abs(scores - 0.5).sum(), rel=1e-6)


def test_only_labels_that_are_known_count_and_each_key_once(shop: Shop, rows: list[dict[str, Any]]) -> None:
    collect(shop.ws, "online.a", rows + rows[:100], LATE)
    half = shop.plant(fitted=Constant(0.5))
    known = losses(shop.ws, half.model, shop.trained.model, ["online.a"], moment("2024-04-20"))
    assert 100 < len(known.values) < 300 and known.compared == 400
    early = losses(shop.ws, half.model, shop.trained.model, ["online.a"], moment("2024-04-20"), mature=True)
    assert early.compared == len(early.values) <= len(known.values)


def test_the_condition_chooses_the_rows(shop: Shop, rows: list[dict[str, Any]]) -> None:
    collect(shop.ws, "online.a", [{**one, "rollout": 1 + (n % 4 == 0)} for n, one in enumerate(rows)], LATE)
    found = losses(shop.ws, shop.trained.model, shop.trained.model, ["online.a"], condition="rollout = 2")
    assert len(found.values) == 100


def test_rows_without_a_feature_are_left_out_and_it_is_said(shop: Shop, rows: list[dict[str, Any]]) -> None:
    bare = [{**one, "features": {"price": 1.0}} for one in rows]
    collect(shop.ws, "online.a", bare, LATE)
    found = losses(shop.ws, shop.trained.model, shop.trained.model, ["online.a"])
    assert not len(found.values) and "all features of both versions" in found.why_none
    collect(shop.ws, "online.b", rows[:7], LATE)
    assert losses(shop.ws, shop.trained.model, shop.trained.model, ["online.a", "online.b"]).compared == 7


def test_nothing_collected_is_nothing_known(shop: Shop, rows: list[dict[str, Any]]) -> None:
    found = losses(shop.ws, shop.trained.model, shop.trained.model, [])
    assert not len(found.values) and not found.why_none


def on_trial(shop: Shop, rows: list[dict[str, Any]], value: float, collected: int) -> Workspace:
    """Begin the canary of a version that says the same of all, and log what it was asked."""
    ws = serving_online(shop.ws, QUALITY)
    record(ws, ReleaseServed(release=1, answers=99, replicas=("a",)))
    planted = shop.plant(fitted=Constant(value))
    version = ws.state().registered[planted.model].version
    passed = Verdict(answer=Answer.PASS, reasons=("by hand",))
    judged = Judged(
        model=planted.model,
        version=version,
        against=shop.trained.model,
        against_version=1,
        gate=ws.use_case.gate_digest,
        verdict=passed,
    )
    record(ws, judged)
    replicas(ws, LATE)
    begin(ws, judged, LATE, LATE)
    answers = {"rollout/1/canary": Counts(answers=99), "rollout/1/baseline": Counts(answers=99)}
    replicas(ws, LATE, answers)
    collect(ws, "online.a", [{**one, "rollout": 1} for one in rows[:collected]], LATE)
    return ws


def test_a_canary_that_scores_worse_is_refused_by_its_labels(shop: Shop, rows: list[dict[str, Any]]) -> None:
    ws = on_trial(shop, rows, value=0.95, collected=400)
    entry = guard(ws, LATE)
    assert entry and isinstance(entry.record, RolloutEnded)
    assert entry.record.verdict.reasons[0].startswith("On 400 labels its loss is higher by")


def test_few_labels_do_not_refuse_it(shop: Shop, rows: list[dict[str, Any]]) -> None:
    assert guard(on_trial(shop, rows, value=0.95, collected=3), LATE) is None


def test_a_damaged_model_silences_the_labels_and_stops_nothing_else(shop: Shop, rows: list[dict[str, Any]]) -> None:
    ws = on_trial(shop, rows, value=0.95, collected=400)
    shop.ws.store.put(f"models/{shop.trained.model}/encoder.json", b"{}")
    assert guard(ws, LATE) is None
    ill = {"rollout/1/canary": Counts(answers=99, errors=80), "rollout/1/baseline": Counts(answers=99)}
    replicas(ws, LATE, ill)
    entry = guard(ws, LATE)
    assert entry and isinstance(entry.record, RolloutEnded)


def test_a_model_that_raises_at_a_logged_row_silences_the_labels_and_stops_nothing_else(
    shop: Shop, rows: list[dict[str, Any]]
) -> None:
    ws = serving_online(shop.ws, QUALITY)
    record(ws, ReleaseServed(release=1, answers=99, replicas=("a",)))
    judged = Models(ws, shop.trained).make("fails")
    replicas(ws, LATE)
    begin(ws, judged, LATE, LATE)
    without_shop = {**rows[0], "features": {**rows[0]["features"], "shop_size": None}}
    collect(ws, "online.a", [{**one, "rollout": 1} for one in [*rows[1:], without_shop]], LATE)
    with pytest.raises(NotComparable, match="contains NaN"):
        losses(ws, judged.model, shop.trained.model, ["online.a"])
    ill = {"rollout/1/canary": Counts(answers=99, errors=20), "rollout/1/baseline": Counts(answers=99)}
    replicas(ws, LATE, ill)
    entry = guard(ws, LATE)
    assert entry and isinstance(entry.record, RolloutEnded)


def on_probation(shop: Shop, rows: list[dict[str, Any]], value: float | None) -> Workspace:
    """Let a second release, of a constant or of the same model, answer the orders of April."""
    ws = serving_online(shop.ws, QUALITY)
    record(ws, ReleaseServed(release=1, answers=99, replicas=("a",)))
    model = shop.trained.model if value is None else shop.plant(fitted=Constant(value)).model
    passed = Verdict(answer=Answer.PASS, reasons=("by hand",))
    record(ws, Judged(model=shop.trained.model, version=1, against="", against_version=None, verdict=passed))
    record(ws, Released(number=2, model=model, version=2, replaces=1, reason="by hand"), LATE)
    record(ws, ReleaseServed(release=2, answers=99, replicas=("a",)))
    replicas(ws, LATE)
    collect(ws, "online.a", [{**one, "release": 2, "version": 2} for one in rows], LATE)
    return ws


def test_a_release_that_loses_once_labels_are_mature_is_rolled_back(shop: Shop, rows: list[dict[str, Any]]) -> None:
    ws = on_probation(shop, rows, value=0.95)
    ended = guard(ws, LATE)
    assert ended and isinstance(ended.record, ProbationEnded) and ended.record.verdict.answer is Answer.FAIL
    back = guard(ws, LATE)
    assert back and isinstance(back.record, Released)
    assert (back.record.model, back.record.withdraws) == (shop.trained.model, 2)


def test_a_release_that_keeps_up_ends_its_probation_once(shop: Shop, rows: list[dict[str, Any]]) -> None:
    ws = on_probation(shop, rows, value=None)
    ended = guard(ws, LATE)
    assert ended and isinstance(ended.record, ProbationEnded) and ended.record.verdict.answer is Answer.PASS
    assert ended.record.verdict.numbers["labels"] == 400
    assert guard(ws, LATE) is None


def test_labels_that_are_not_mature_end_no_probation(shop: Shop, rows: list[dict[str, Any]]) -> None:
    ws = on_probation(shop, [{**one, "event_time": LATE} for one in rows], value=0.95)
    assert guard(ws, LATE) is None
