"""A canary that hangs holds up its own callers and nobody else, asked over HTTP with the default timeout."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace
from threading import Event, Thread
from typing import Any

import pytest

from perennial.data.online import Asked, Row
from serving.batching import Batcher
from serving.lanes import Lanes
from serving.replica import Replica
from tests.perennial.release.conftest import Shop
from tests.servers import until
from tests.serving.http.conftest import Running, running
from tests.serving.questions import ask, started
from tests.serving.test_replica import FLIPPED


class Hanging:
    """The query of a model that does not come back until it is let go on."""

    def __init__(self, query: Any) -> None:
        self.query, self.begun, self.go_on = query, Event(), Event()

    def ask(self, rows: Sequence[Row]) -> Asked:
        self.begun.set()
        assert self.go_on.wait(60)
        return self.query.ask(rows)


@pytest.fixture
def canary(shop: Shop, replica: Replica) -> Iterator[Hanging]:
    """A canary of a quarter of the keys that hangs as soon as it is asked."""
    shop.serve(shop.trained)
    shop.record(started(shop.plant(FLIPPED).model, "canary"))
    until(60, lambda: replica.status.rollout == 1)
    lineup: Any = replica._lineup
    hanging = Hanging(lineup.trial.challenger.query)
    challenger = replace(lineup.trial.challenger, query=hanging)
    replica._lineup = replace(lineup, trial=replace(lineup.trial, challenger=challenger))
    yield hanging
    hanging.go_on.set()


def rows(replica: Replica, arm: str, count: int) -> list[dict[str, Any]]:
    """Return orders whose keys belong to an arm."""
    lineup: Any = replica._lineup
    mine = [one.row for one in ask(*range(400)) if lineup.arm(one.key) == arm]
    return [{**row, "ordered_at": row["ordered_at"].isoformat()} for row in mine[:count]]


def status(service: Running, *asked: dict[str, Any]) -> int:
    return service.client.post("/predict", json={"rows": asked}, timeout=30).status_code


def test_who_is_not_the_canary_s_gets_answers_while_it_hangs(canary: Hanging, replica: Replica) -> None:
    (its,) = rows(replica, "canary", 1)
    with running(replica) as service:
        asking = Thread(target=status, args=(service, its))
        asking.start()
        assert canary.begun.wait(60)
        for one in (*rows(replica, "champion", 10), *rows(replica, "baseline", 10)):
            until(60, lambda one=one: status(service, one) == 200)
        assert not canary.go_on.is_set()
        asking.join()
        until(60, lambda: replica.report().counts["rollout/1/canary"].errors >= 1)
        assert replica.report().counts["release/1"].errors == 0
        assert status(service, *rows(replica, "champion", 1), its) == 504, "a request waits for all of its rows"
        canary.go_on.set()
        until(60, lambda: status(service, *rows(replica, "champion", 2), its, *rows(replica, "baseline", 2)) == 200)


def test_a_canary_s_row_that_waited_when_its_trial_ended_is_the_champion_s(canary: Hanging, replica: Replica) -> None:
    its = [one for one in ask(*range(400)) if replica.lane(one.key) == 1]
    lineup: Any = replica._lineup
    for trial in (None, replace(lineup.trial, number=2)):
        replica._lineup = replace(lineup, trial=trial)
        assert "canary" not in {one.arm for one in replica.answer(its, 1)}
    assert not canary.begun.is_set()


def test_the_next_canary_has_a_thread_of_its_own_and_the_lane_before_ends_with_its_answers() -> None:
    going = Event()

    def score(lane: int, questions: Sequence[Any]) -> Sequence[Any]:
        return questions if lane != 1 or going.wait(20) else []

    async def both() -> None:
        lanes = Lanes(lambda lane: Batcher(lambda some: score(lane, some), timeout=20.0, max_waiting=9))
        lanes.start()
        waiting = [asyncio.ensure_future(lanes.at(1).ask([one])) for one in "ab"]
        while not lanes.at(1).waiting:
            await asyncio.sleep(0)
        assert await lanes.at(2).ask(["c"]) == ["c"]
        assert await lanes.at(0).ask(["d"]) == ["d"]
        going.set()
        assert await asyncio.gather(*waiting) == [["a"], ["b"]], "what waited is answered"
        lanes.stop()

    asyncio.run(both())
