"""The log keeps what it can while the store is away, counts what it cannot, and loses nothing else."""

from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest

from perennial.release.answer_rows import log_folder, read_segment
from serving import answer_log
from serving.answer_log import AnswerLog
from serving.answers import Answer
from serving.replica import Replica
from tests.perennial.release.conftest import Shop
from tests.servers import until
from tests.serving.questions import ask


@pytest.fixture
def answers(shop: Shop, replica: Replica) -> list[Answer]:
    shop.serve(shop.trained)
    until(60, lambda: replica.is_ready)
    return replica.answer(ask(1, 2, 3))


def test_what_is_put_lies_in_one_segment_with_all_columns(shop: Shop, answers: list[Answer]) -> None:
    log = AnswerLog(shop.ws, "one")
    log.put(answers)
    assert not log.is_complete
    log.flush()
    assert (log.answered, log.logged, log.dropped, log.is_complete) == (3, 3, 0, True)
    (path,) = shop.ws.store.list(log_folder(shop.ws))
    first = read_segment(shop.ws.use_case, shop.ws.store.get(path)).to_pylist()[0]
    assert first["order_id"] == "2024-06-000001"
    assert first["score"] == answers[0].score
    assert (first["prediction_id"], first["request_id"]) == ("request/0", "request")
    assert '"price":60.0' in first["inputs"]
    assert '"shop_size":2.0' in first["features"]


def test_while_the_store_is_away_answers_wait_and_beyond_the_bound_are_counted(
    shop: Shop, answers: list[Answer]
) -> None:
    log = AnswerLog(shop.ws, "one", max_rows=4, max_bytes=10_000)
    folder = Path(shop.ws.store.root, log_folder(shop.ws))
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.write_text("no folder")
    log.put(answers)
    log.put(answers)
    assert (log.answered, log.dropped) == (6, 2)
    log.flush()
    assert log.logged == 0
    while log.dropped == 2:
        log.put(answers)
        log.flush()
    folder.unlink()
    log.flush()
    assert log.logged == log.answered - log.dropped > 0
    rows = [
        read_segment(shop.ws.use_case, shop.ws.store.get(path)).num_rows
        for path in shop.ws.store.list(log_folder(shop.ws))
    ]
    assert sum(rows) == log.logged


def test_rows_that_cannot_be_written_are_counted_and_the_next_are_logged(shop: Shop, answers: list[Answer]) -> None:
    log = AnswerLog(shop.ws, "one")
    log.put([replace(answers[0], score="no number")])  # type: ignore[arg-type]
    log.flush()
    assert (log.answered, log.logged, log.dropped, log.is_complete) == (1, 0, 1, True)
    log.put(answers)
    log.flush()
    assert (log.logged, log.dropped) == (3, 1)


def test_a_row_without_a_score_is_not_logged(shop: Shop, replica: Replica, answers: list[Answer]) -> None:
    (bad,) = ask(1)
    bad.row["price"] = "no number"
    log = AnswerLog(shop.ws, "one")
    log.put(replica.answer([bad]))
    assert log.answered == 0


def test_a_store_that_hangs_keeps_the_replica_from_no_end(
    shop: Shop, answers: list[Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    writing, answering = Event(), Event()

    def hang(path: str, data: bytes) -> None:
        writing.set()
        assert answering.wait(60)

    monkeypatch.setattr(shop.ws.store, "create", hang)
    monkeypatch.setattr(answer_log, "LAST", 0.1)
    log = AnswerLog(shop.ws, "one")
    log.start()
    log.put(answers)
    assert writing.wait(20)
    log.stop()
    assert not answering.is_set() and not log.is_complete
    answering.set()
    until(60, lambda: log.is_complete)


def test_what_waits_for_a_challenger_counts_as_answered_and_once(shop: Shop, answers: list[Answer]) -> None:
    log = AnswerLog(shop.ws, "one")
    log.expect(answers)
    assert (log.answered, log.is_complete) == (3, False)
    log.put(answers, are_expected=True)
    log.flush()
    assert (log.answered, log.logged, log.is_complete) == (3, 3, True)
