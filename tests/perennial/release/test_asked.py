"""An answer is found again by its id, wherever it lies, with all that it was made of."""

from pathlib import Path
from typing import Any

import pytest

from perennial.release.answer_rows import segment_path, write_segment
from perennial.release.answers import collect_answers
from perennial.release.asked import UnknownRequest, find_answers
from perennial.workspace import Workspace
from tests.builders import make_use_case, moment

JUNE = moment("2024-06-01")


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return make_use_case(tmp_path, rows=5)


def log(ws: Workspace, number: int, *ids: str) -> None:
    """Write a segment as a replica would."""
    ws.store.create(segment_path(ws, "a", number), write_segment(ws.use_case, [answer(one) for one in ids]))


def answer(prediction: str) -> dict[str, Any]:
    row = {"order_id": prediction, "ordered_at": JUNE, "price": 9.5, "channel": "app", "shop": None}
    known = {"prediction_id": prediction, "request_id": prediction.rpartition("/")[0], "predicted_at": JUNE}
    said = {"model_version": 3, "release": 2, "score": 0.25, "arm": "canary", "rollout": 1}
    rest = {"features_digest": "f" * 64, "shadow_score": 0.5, "shadow_version": 4}
    return {"row": row, "features": {"price": 9.5, "shop_size": None}, **known, **said, **rest}


def ids(ws: Workspace, asked: str) -> list[str]:
    return [one.prediction_id for one in find_answers(ws, asked)]


@pytest.mark.parametrize("is_collected", [False, True])
def test_inputs_features_and_origin_are_those_of_the_answer(ws: Workspace, is_collected: bool) -> None:
    log(ws, 1, "mine.1/0", "other/0")
    if is_collected:
        collect_answers(ws, JUNE)
    [found] = find_answers(ws, "mine.1")
    assert found.inputs["order_id"] == "mine.1/0" and found.inputs["shop"] is None
    assert found.features == {"price": 9.5, "shop_size": None}
    assert (found.model_version, found.release, found.arm, found.rollout) == (3, 2, "canary", 1)
    assert (found.score, found.shadow_score, found.shadow_version) == (0.25, 0.5, 4)
    assert found.asked_at == JUNE and found.reference == "f" * 64
    assert (found.batch is not None) is is_collected


def test_a_request_is_all_of_its_rows_in_order_and_a_row_only_itself(ws: Workspace) -> None:
    log(ws, 1, *(f"mine/{row}" for row in range(12)), "mine2/0")
    assert ids(ws, "mine") == [f"mine/{row}" for row in range(12)]
    assert ids(ws, "mine/1") == ["mine/1"]


def test_an_id_that_the_caller_used_twice_finds_both_requests(ws: Workspace) -> None:
    log(ws, 1, "mine.1/0")
    collect_answers(ws, JUNE)
    log(ws, 2, "mine.2/0")
    collect_answers(ws, JUNE)
    log(ws, 3, "mine.3/0")
    assert ids(ws, "mine") == ["mine.1/0", "mine.2/0", "mine.3/0"]


@pytest.mark.parametrize("asked", ["nobody", "mine.", "%", ""])
def test_an_unknown_id_says_where_was_looked(ws: Workspace, asked: str) -> None:
    with pytest.raises(UnknownRequest, match="log of its replicas nor the lake"):
        find_answers(ws, asked)
    log(ws, 1, "mine.1/0")
    collect_answers(ws, JUNE)
    with pytest.raises(UnknownRequest, match="log of its replicas nor the lake"):
        find_answers(ws, asked)
