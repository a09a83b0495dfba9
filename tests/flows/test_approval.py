"""An answer counts although the process that asked for it died before it heard it."""

import json
from typing import Any

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.exceptions import FlowPauseTimeout
from prefect.input import keyset_from_base_key
from prefect.runtime import flow_run

from flows import approval
from flows.approval import Approval

QUESTION = "May version 1 of shop-returns serve in prod?"
YES = {"approve": True, "who": "ada", "reason": "It looks good."}


class Killed(Exception):
    """The process that waited is gone."""


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let the first attempt die with an answer that the server took, and any later one find nobody; returns keys."""
    keys: list[str] = []

    def pause(asked: type[Approval], *, key: str, **_: Any) -> Approval:
        keys.append(key)
        if len(keys) > 1:
            raise FlowPauseTimeout
        keyset = keyset_from_base_key(f"paused-{key}")
        asked.save(keyset)
        with get_client(sync_client=True) as client:
            client.create_flow_run_input(flow_run.id, keyset["response"], json.dumps(YES))
        raise Killed

    monkeypatch.setattr(approval, "pause_flow_run", pause)
    return keys


@flow(retries=1, persist_result=False)
def asking(questions: list[str]) -> Approval:
    return approval._wait(questions[flow_run.run_count - 1], 1)


def test_the_answer_to_a_question_whose_asker_died_counts(server: None, answering: list[str]) -> None:
    assert asking([QUESTION, QUESTION]) == Approval(**YES)
    assert answering == ["1"]


def test_it_does_not_count_for_another_question(server: None, answering: list[str]) -> None:
    answer = asking([QUESTION, "May version 2 of shop-returns serve in prod?"])
    assert (answer.approve, answer.who) == (False, "nobody")
    assert answering == ["1", "2"]
