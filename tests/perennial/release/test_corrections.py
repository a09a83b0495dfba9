"""What a withdrawn release wrote is scored again once, beside the old rows, and readers can ask for what counts."""

from datetime import datetime
from typing import Any

import pyarrow as pa
import pytest

from perennial.data import lake
from perennial.data.engine import Engine
from perennial.journal import Journal
from perennial.model.artifact import load_model
from perennial.model.constant import Constant
from perennial.records import (
    Answer,
    Entry,
    Predicted,
    PredictionsCorrected,
    Record,
    Released,
    RolloutEnded,
    RolloutStarted,
    Verdict,
)
from perennial.release import corrections
from perennial.release.corrections import NotCorrectable, Origin, Source, Withdrawn, affected, correct
from perennial.release.predictions import batch_name, corrected_rows, predict
from perennial.workspace import Workspace
from tests.builders import moment
from tests.perennial.release.conftest import MAY, Shop
from tests.perennial.release.test_predictions import APRIL, correct_april
from tests.perennial.release.trials import collect, known_features

JUNE = moment("2024-06-01")
BAD, GOOD = 0.9, "the honest model"


class DiesBeforeItRecords(Journal):
    """A journal whose writer is killed right before the record of a correction."""

    def append(self, record: Record, at: datetime, head: int) -> Entry:
        if isinstance(record, PredictionsCorrected):
            raise KeyboardInterrupt
        return super().append(record, at, head)


def withdraw(shop: Shop, number: int, back_to: Released, at: datetime = JUNE) -> Released:
    """Record the rollback from a release to an earlier one."""
    state = shop.ws.state()
    back = Released(
        number=len(state.released) + 1,
        model=back_to.model,
        version=back_to.version,
        replaces=state.released[-1].version,
        reason="bad",
        withdraws=number,
    )
    shop.record(back, at)
    return back


@pytest.fixture
def good(shop: Shop) -> Released:
    """Release 1, the honest model; release 2 says 0.9 of everything, in a batch and online, and is withdrawn."""
    first = shop.serve(shop.trained)
    second = shop.serve(shop.plant(fitted=Constant(BAD)))
    predicted = predict(shop.ws, APRIL, MAY)
    asked = known_features(shop.ws, predicted.snapshot)[:60]
    origin = {"release": 2, "version": second.version, "score": BAD}
    on_trial = {"release": 2, "version": 9, "score": 0.1, "arm": "canary"}
    collect(shop.ws, "online.a", [{**one, **(on_trial if n < 10 else origin)} for n, one in enumerate(asked)], MAY)
    return withdraw(shop, 2, first)


def view(ws: Workspace, batches: list[str], corrected: bool = True) -> list[dict[str, Any]]:
    with Engine(ws.settings) as engine:
        if corrected:
            corrected_rows(engine, ws, batches, "standing")
        else:
            engine.files("standing", lake.files(ws, "predictions", "batch", batches))
        return engine.table("SELECT * FROM standing ORDER BY batch, order_id, prediction_id").to_pylist()


def test_what_a_withdrawn_release_wrote_is_listed_until_it_is_corrected(shop: Shop, good: Released) -> None:
    [found] = affected(shop.ws.journal.entries())
    assert found.withdrawn == Withdrawn(2, 2)
    assert [(one.batch, one.rows) for one in found.sources] == [
        (batch_name(shop.ws.state().predicted[0]), 400),
        ("online.a", 50),
    ]
    correct(shop.ws, JUNE)
    assert affected(shop.ws.journal.entries()) == []


def test_it_is_scored_again_under_the_same_ids_and_nothing_is_overwritten(shop: Shop, good: Released) -> None:
    batch = batch_name(shop.ws.state().predicted[0])
    before = view(shop.ws, [batch, "online.a"], corrected=False)
    [done] = correct(shop.ws, JUNE)
    assert (done.withdrawn, done.release, done.model, done.rows) == (2, 3, good.model, 450)
    assert view(shop.ws, [batch, "online.a"], corrected=False) == before
    wrong = {one["prediction_id"] for one in before if one["score"] == BAD}
    fixed = view(shop.ws, [done.batch], corrected=False)
    assert {one["prediction_id"] for one in fixed} == wrong
    assert {(one["release"], one["model_version"], one["predicted_at"]) for one in fixed} == {(3, 1, JUNE)}
    model = load_model(shop.ws.store, good.model)
    features = {
        one["order_id"]: one["features"] for one in known_features(shop.ws, shop.ws.state().predicted[0].snapshot)
    }
    expected = model.score(pa.Table.from_pylist([features[one["order_id"]] for one in fixed]))
    assert [one["score"] for one in fixed] == pytest.approx(expected, abs=1e-7)


def test_correcting_again_does_nothing(shop: Shop, good: Released) -> None:
    correct(shop.ws, JUNE)
    head, version = shop.ws.state().seq, lake.version(shop.ws, "predictions")
    assert correct(shop.ws, moment("2024-06-09")) == []
    assert (shop.ws.state().seq, lake.version(shop.ws, "predictions")) == (head, version)


def test_answers_that_are_collected_later_are_corrected_later(shop: Shop, good: Released) -> None:
    correct(shop.ws, JUNE)
    asked = known_features(shop.ws, shop.ws.state().predicted[0].snapshot)[60:70]
    origin = {"release": 2, "version": shop.ws.state().released[1].version, "score": BAD}
    collect(shop.ws, "online.late", [{**one, **origin} for one in asked], JUNE)
    [done] = correct(shop.ws, JUNE)
    assert done.rows == 10 and done.sources == ("online.late",)


def test_readers_get_what_counts_today_of_each_id_once(shop: Shop, good: Released) -> None:
    [predicted] = shop.ws.state().predicted
    batches = [batch_name(predicted), "online.a"]
    assert {one["model_version"] for one in view(shop.ws, batches)} == {9}, "what a canary answered stands"
    correct(shop.ws, JUNE)
    found = view(shop.ws, batches)
    assert len(found) == len({one["prediction_id"] for one in found}) == 460
    assert sorted((one["release"], one["arm"]) for one in found if one["release"] != 3) == [(2, "canary")] * 10
    with Engine(shop.ws.settings) as engine:
        corrected_rows(engine, shop.ws, batches[:1], "standing")
        assert engine.table("SELECT release, count(*) AS n FROM standing GROUP BY release").to_pylist() == [
            {"release": 3, "n": 400}
        ]


def test_what_was_scored_after_a_correction_counts_and_not_the_correction(shop: Shop, good: Released) -> None:
    correct(shop.ws, JUNE)
    shop.serve(shop.plant(fitted=Constant(0.25)), at=moment("2024-06-02"))
    again = predict(shop.ws, APRIL, moment("2024-06-03"))
    batches = [batch_name(one) for one in shop.ws.state().predicted]
    assert {(one["release"], one["score"]) for one in view(shop.ws, batches)} == {(again.release, 0.25)}


def test_without_any_withdrawal_the_corrected_view_is_the_plain_one(shop: Shop) -> None:
    shop.serve(shop.trained)
    predicted = predict(shop.ws, APRIL, MAY)
    plain = view(shop.ws, [batch_name(predicted)], corrected=False)
    assert view(shop.ws, [batch_name(predicted)]) == plain
    assert affected(shop.ws.journal.entries()) == [] and correct(shop.ws, JUNE) == []


def test_a_correction_by_a_release_that_is_withdrawn_itself_is_corrected_again(shop: Shop, good: Released) -> None:
    correct(shop.ws, JUNE)
    better = shop.serve(shop.plant(fitted=Constant(0.4)), moment("2024-06-02"))
    first = shop.ws.state().corrected[0]
    back = withdraw(shop, good.number, better, moment("2024-06-03"))
    [found] = affected(shop.ws.journal.entries())
    assert [one.batch for one in found.sources] == [first.batch]
    [done] = correct(shop.ws, moment("2024-06-03"))
    assert (done.withdrawn, done.release, done.rows) == (good.number, back.number, 450)
    standing = view(shop.ws, [batch_name(shop.ws.state().predicted[0]), "online.a"])
    assert len(standing) == 460 and {one["score"] for one in standing} == {0.4, 0.1}


def test_a_corrector_killed_between_lake_and_journal_doubles_nothing(shop: Shop, good: Released) -> None:
    killed = Workspace(shop.ws.use_case, shop.ws.settings)
    killed.__dict__["journal"] = DiesBeforeItRecords(shop.ws.store, "shop-returns")
    with pytest.raises(KeyboardInterrupt):
        correct(killed, JUNE)
    assert len(affected(shop.ws.journal.entries())) == 1
    [done] = correct(shop.ws, JUNE)
    assert len(view(shop.ws, [done.batch], corrected=False)) == 450


def test_what_lacks_a_feature_stays_listed_and_all_else_is_corrected(shop: Shop, good: Released) -> None:
    origin = {"release": 2, "version": shop.ws.state().released[1].version, "score": BAD}
    collect(shop.ws, "online.bare", [{"order_id": "x", "features": {"price": 1.0}, **origin}], JUNE)
    with pytest.raises(NotCorrectable, match=r"1 batches .* lack a feature .* online\.bare.* 1 corrections were made"):
        correct(shop.ws, JUNE)
    assert shop.ws.state().corrected[0].rows == 450
    [found] = affected(shop.ws.journal.entries())
    assert [one.batch for one in found.sources] == ["online.bare"]


def scored_twice(shop: Shop) -> tuple[Predicted, Predicted]:
    """Let the champion score April before and after its delivery is corrected, and 100 orders with it taken away."""
    first = predict(shop.ws, APRIL, MAY)
    correct_april(shop.ws, moment("2024-05-02"))
    return first, predict(shop.ws, APRIL, moment("2024-05-03"))


def expect_only(shop: Shop, release: int, newest: Predicted) -> None:
    """Of April counts every row of the newest snapshot once, as the model of a release scores it, at every look."""
    batches = [batch_name(one) for one in shop.ws.state().predicted]
    found = view(shop.ws, batches)
    assert found == view(shop.ws, batches) and len(found) == newest.rows == 300
    assert {(one["release"], one["features_digest"]) for one in found} == {(release, newest.snapshot)}
    rows = pa.Table.from_pylist([one["features"] for one in known_features(shop.ws, newest.snapshot)])
    expected = load_model(shop.ws.store, shop.ws.state().released[release - 1].model).score(rows)
    by_order = sorted(found, key=lambda one: str(one["order_id"]))
    assert [one["score"] for one in by_order] == pytest.approx(expected, abs=1e-7)


def test_a_row_that_a_corrected_delivery_took_away_counts_no_longer(shop: Shop) -> None:
    shop.serve(shop.trained)
    expect_only(shop, 1, scored_twice(shop)[1])


def test_what_a_corrected_delivery_superseded_is_not_scored_again(shop: Shop) -> None:
    first = shop.serve(shop.trained)
    shop.serve(shop.plant(fitted=Constant(BAD)))
    _, newest = scored_twice(shop)
    withdraw(shop, 2, first)
    [found] = affected(shop.ws.journal.entries())
    assert [(one.batch, one.rows) for one in found.sources] == [(batch_name(newest), 300)]
    [done] = correct(shop.ws, JUNE)
    assert done.rows == 300 and affected(shop.ws.journal.entries()) == []
    expect_only(shop, 3, newest)


def test_of_a_correction_that_mixed_what_was_superseded_only_the_newest_is_read_and_corrected(shop: Shop) -> None:
    first = shop.serve(shop.trained)
    shop.serve(shop.plant(fitted=Constant(BAD)))
    both = scored_twice(shop)
    back = withdraw(shop, 2, first)
    sources = [
        Source(batch_name(one), one.rows, (Origin(batch_name(one), 2, 2, one.snapshot),)) for one in reversed(both)
    ]
    model = load_model(shop.ws.store, back.model)
    assert corrections._correct(shop.ws, Withdrawn(2, 2), sources, back, model, JUNE).rows == 700
    expect_only(shop, 3, both[1])
    better = shop.serve(shop.plant(fitted=Constant(0.4)), moment("2024-06-02"))
    again = withdraw(shop, 3, better, moment("2024-06-03"))
    assert [one.rows for one in correct(shop.ws, moment("2024-06-03"))] == [300]
    expect_only(shop, again.number, both[1])


def test_a_correction_of_what_was_superseded_does_not_bring_it_back(shop: Shop) -> None:
    first = shop.serve(shop.trained)
    shop.serve(shop.plant(fitted=Constant(BAD)))
    predict(shop.ws, APRIL, MAY)
    withdraw(shop, 2, first, moment("2024-05-02"))
    correct_april(shop.ws, moment("2024-05-02"))
    newest = predict(shop.ws, APRIL, moment("2024-05-03"))
    assert newest.release == 3
    correct(shop.ws, JUNE)
    expect_only(shop, 3, newest)


def test_what_was_scored_for_an_earlier_moment_does_not_count_though_it_was_written_later(shop: Shop) -> None:
    shop.serve(shop.trained)
    shop.serve(shop.plant(fitted=Constant(0.25)), moment("2024-05-20"))
    batches = [batch_name(predict(shop.ws, APRIL, moment(day))) for day in ("2024-05-21", "2024-05-10")]
    found = view(shop.ws, batches)
    assert len(found) == 400 and {(one["release"], one["score"]) for one in found} == {(2, 0.25)}


def a_canary(shop: Shop, number: int, answer: Answer, asked: list[dict[str, Any]]) -> None:
    """Let a canary beside the champion answer, and end its trial."""
    champion = shop.ws.state().champion
    assert champion is not None
    started = RolloutStarted(
        number=number,
        rollout="canary",
        model=champion.model,
        version=8 + number,
        against_release=champion.number,
        against_version=champion.version,
        steps=(0.5,),
        deadline=JUNE,
    )
    shop.record(started)
    origin = {"release": champion.number, "version": 8 + number, "score": BAD, "arm": "canary", "rollout": number}
    served = {"release": champion.number, "version": champion.version, "score": 0.2}
    rows = [{**one, **(origin if place < 10 else served)} for place, one in enumerate(asked)]
    collect(shop.ws, f"online.canary-{number}", rows, JUNE)
    shop.record(RolloutEnded(number=number, verdict=Verdict(answer=answer, reasons=("It ended.",))), JUNE)


def test_what_a_failed_canary_answered_is_scored_again_and_what_an_undecided_one_did_stands(shop: Shop) -> None:
    shop.serve(shop.trained)
    asked = known_features(shop.ws, predict(shop.ws, APRIL, MAY).snapshot)
    a_canary(shop, 1, Answer.FAIL, asked[:30])
    a_canary(shop, 2, Answer.INCONCLUSIVE, asked[30:60])
    [found] = affected(shop.ws.journal.entries())
    assert found.withdrawn == Withdrawn(1, 9, rollout=1)
    assert [(one.batch, one.rows) for one in found.sources] == [("online.canary-1", 10)]
    batches = ["online.canary-1", "online.canary-2"]
    assert len(view(shop.ws, batches)) == 50, "until they are scored again they are left out"
    [done] = correct(shop.ws, JUNE)
    assert (done.withdrawn, done.rollout, done.release, done.rows) == (1, 1, 1, 10)
    assert done.whose == "the canary of rollout 1"
    standing = view(shop.ws, batches)
    assert len(standing) == len({one["prediction_id"] for one in standing}) == 60
    assert sum(one["score"] == BAD for one in standing) == 10 == sum(one["rollout"] == 2 for one in standing)
    assert affected(shop.ws.journal.entries()) == [] and correct(shop.ws, JUNE) == []


def test_what_corrected_a_canary_is_corrected_again_when_that_release_is_withdrawn(shop: Shop) -> None:
    first = shop.serve(shop.trained)
    second = shop.serve(shop.plant(fitted=Constant(0.3)))
    asked = known_features(shop.ws, predict(shop.ws, APRIL, MAY).snapshot)
    a_canary(shop, 1, Answer.FAIL, asked[:10])
    correct(shop.ws, JUNE)
    withdraw(shop, second.number, first)
    done = correct(shop.ws, JUNE)
    assert {one.withdrawn for one in done} == {2} and sum(one.rows for one in done) == 400 + 10
    standing = view(shop.ws, ["online.canary-1"])
    assert len(standing) == 10 and {one["release"] for one in standing} == {3}


def test_a_correction_of_many_batches_goes_on_where_it_was_killed(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corrections, "AT_ONCE", 2)
    first = shop.serve(shop.trained)
    second = shop.serve(shop.plant(fitted=Constant(BAD)))
    asked = known_features(shop.ws, predict(shop.ws, APRIL, MAY).snapshot)
    origin = {"release": 2, "version": second.version, "score": BAD}
    for number in range(4):
        collect(shop.ws, f"online.{number}", [{**one, **origin} for one in asked[10 * number : 10 * number + 10]], MAY)
    withdraw(shop, 2, first)

    class DiesAfterTheFirst(Journal):
        def append(self, one: Record, at: datetime, head: int) -> Entry:
            if isinstance(one, PredictionsCorrected) and shop.ws.state().corrected:
                raise KeyboardInterrupt
            return super().append(one, at, head)

    killed = Workspace(shop.ws.use_case, shop.ws.settings)
    killed.__dict__["journal"] = DiesAfterTheFirst(shop.ws.store, "shop-returns")
    with pytest.raises(KeyboardInterrupt):
        correct(killed, JUNE)
    assert [one.rows for one in shop.ws.state().corrected] == [410]
    assert [one.rows for one in correct(shop.ws, JUNE)] == [20, 10]
    assert affected(shop.ws.journal.entries()) == []
