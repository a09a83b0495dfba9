"""The fold from journal entries to what stages ask."""

from datetime import UTC, datetime

from perennial.records import Accepted, Entry, Predicted, Record, Released, TrainingRefused
from perennial.state import fold


def entries(*records: Record) -> list[Entry]:
    """Number some records, one a day from 2024-01-01."""
    return [
        Entry(seq=number, previous="", at=datetime(2024, 1, number, tzinfo=UTC), record=record)
        for number, record in enumerate(records, start=1)
    ]


def released(number: int, model: str) -> Released:
    return Released(number=number, model=model, version=number, replaces=number - 1 or None, reason="better")


def accepted(revision: int, period: str = "2024-01") -> Accepted:
    return Accepted(
        source="orders",
        period=period,
        revision=revision,
        digest="d",
        contract="c",
        rows=2,
        accepted=2,
        quarantined=0,
        reasons={},
        partition=f"{period}.r{revision}",
        table_version=revision,
    )


def predicted(snapshot: str) -> Predicted:
    return Predicted(period="2024-02", release=1, model="a", version=1, snapshot=snapshot, rows=2, table_version=1)


def test_nothing_folds_to_nothing() -> None:
    state = fold([])
    assert state.seq == 0 and state.champion is None and state.released == []


def test_the_newest_release_is_the_champion() -> None:
    state = fold(entries(released(1, "a"), released(2, "b")))
    assert state.champion is not None and state.champion.model == "b"
    assert state.released_at == {1: datetime(2024, 1, 1, tzinfo=UTC), 2: datetime(2024, 1, 2, tzinfo=UTC)}


def test_a_state_of_the_past_knows_only_what_was_decided_by_then() -> None:
    story = entries(released(1, "a"), released(2, "b"))
    assert fold(story, as_of=datetime(2024, 1, 1, tzinfo=UTC)).released == [released(1, "a")]
    assert fold(story, as_of=datetime(2023, 12, 31, tzinfo=UTC)).champion is None


def test_scored_batches_are_told_by_the_moment_they_were_scored_for_and_those_of_one_in_their_order() -> None:
    records = [predicted(name) for name in ("full", "early", "again")]
    moments = [datetime(2024, 3, 1, tzinfo=UTC), datetime(2024, 2, 9, tzinfo=UTC), datetime(2024, 3, 1, tzinfo=UTC)]
    numbered = zip(records, moments, strict=True)
    state = fold(Entry(seq=n, previous="", at=at, record=one) for n, (one, at) in enumerate(numbered, start=1))
    assert [one.snapshot for one in state.predicted] == ["full", "early", "again"]
    assert [one.snapshot for one in state.predicted_by_moment] == ["early", "full", "again"]


def test_the_newest_accepted_revision_of_a_delivery_counts() -> None:
    state = fold(entries(accepted(1), accepted(1, "2024-02"), accepted(2)))
    assert state.delivery("orders", "2024-01") == accepted(2)
    assert state.delivery("orders", "2024-03") is None
    assert state.accepted_at["2024-01.r2"] == datetime(2024, 1, 3, tzinfo=UTC)


def test_late_rows_count_from_after_all_that_was_recorded_before_their_delivery() -> None:
    story = entries(released(1, "a"), accepted(1), accepted(1, "2024-02"))
    late = story[2].model_copy(update={"at": datetime(2024, 1, 1, tzinfo=UTC)})
    state = fold([*story[:2], late])
    assert state.accepted_at["2024-02.r1"] == late.at
    assert state.late_from == {
        "2024-01.r1": datetime(2024, 1, 2, tzinfo=UTC),
        "2024-02.r1": datetime(2024, 1, 2, microsecond=1, tzinfo=UTC),
    }
    assert fold([*story[:2], late], as_of=late.at).late_from == {"2024-02.r1": late.at}


def test_every_kind_of_record_moves_the_state() -> None:
    assert fold(entries(TrainingRefused(key="k", reason="too few rows"))).training_refused_at.keys() == {"k"}
    assert fold(entries(released(1, "a"), TrainingRefused(key="k", reason="r"))).seq == 2
