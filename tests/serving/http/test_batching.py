"""Questions wait only while the scoring thread works, share its next batch, and never wait for ever."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from threading import Event
from typing import Any

import pytest

from serving.batching import Batcher, Late, QueueFull, ScoringFailed


class Thread:
    """What the scoring thread does: it remembers its batches, and holds the first back until told."""

    def __init__(self, is_held: bool = False) -> None:
        self.batches: list[list[Any]] = []
        self.going = Event()
        if not is_held:
            self.going.set()

    def __call__(self, questions: Sequence[Any]) -> Sequence[Any]:
        self.batches.append(list(questions))
        self.going.wait(10)
        return [one * 10 for one in questions]


def run(thread: Any, test: Callable[[Batcher], Awaitable[Any]], **limits: Any) -> Any:
    async def within() -> Any:
        batcher = Batcher(thread, **{"timeout": 5.0, "max_waiting": 100, **limits})
        batcher.start()
        try:
            return await test(batcher)
        finally:
            batcher.stop()

    return asyncio.run(within())


async def held(batcher: Batcher, thread: Thread, *others: list[int]) -> "list[asyncio.Future[Any]]":
    """Ask one question that the thread holds on to, then others, which wait."""
    asking = [asyncio.ensure_future(batcher.ask([0]))]
    while not thread.batches:
        await asyncio.sleep(0)
    asking += [asyncio.ensure_future(batcher.ask(one)) for one in others]
    await asyncio.sleep(0)
    return asking


def test_an_idle_thread_is_handed_a_question_at_once() -> None:
    thread = Thread()

    async def one_by_one(batcher: Batcher) -> list[Any]:
        return [await batcher.ask([number]) for number in range(3)]

    assert run(thread, one_by_one) == [[0], [10], [20]]
    assert thread.batches == [[0], [1], [2]]


def test_who_comes_while_it_works_shares_the_next_batch_and_gets_the_own_answers() -> None:
    thread = Thread(is_held=True)

    async def together(batcher: Batcher) -> Any:
        asking = await held(batcher, thread, [1], [2, 3], [4])
        assert batcher.waiting == 4
        thread.going.set()
        return await asyncio.gather(*asking)

    assert run(thread, together) == [[0], [10], [20, 30], [40]]
    assert thread.batches == [[0], [1, 2, 3, 4]]


def test_callers_who_got_their_answers_together_share_the_next_batch_too() -> None:
    thread = Thread()

    async def again_and_again(batcher: Batcher) -> None:
        async def one(number: int) -> None:
            for _ in range(5):
                assert await batcher.ask([number]) == [number * 10]

        await asyncio.gather(*map(one, range(4)))

    run(thread, again_and_again)
    assert [len(one) for one in thread.batches] == [1, 4, 4, 4, 4, 3]


def test_whoever_does_not_ask_again_is_not_waited_for() -> None:
    thread = Thread(is_held=True)

    async def fewer(batcher: Batcher) -> Any:
        asking = await held(batcher, thread, [1], [2], [3])
        thread.going.set()
        await asyncio.gather(*asking)
        return await batcher.ask([4]), await batcher.ask([5])

    assert run(thread, fewer) == ([40], [50])


def test_told_to_end_while_it_gathers_it_answers_first() -> None:
    thread = Thread(is_held=True)

    async def ended(batcher: Batcher) -> Any:
        asking = await held(batcher, thread, [1], [2])
        thread.going.set()
        await asking[0]
        asking.append(asyncio.ensure_future(batcher.ask([3])))
        await asyncio.sleep(0)
        batcher.stop()
        return await asyncio.gather(*asking)

    assert run(thread, ended) == [[0], [10], [20], [30]]


def test_a_batch_is_bounded_and_a_larger_request_is_one_of_its_own() -> None:
    thread = Thread(is_held=True)

    async def many(batcher: Batcher) -> Any:
        asking = await held(batcher, thread, [1, 2], [3, 4], [5, 6, 7, 8, 9], [1])
        thread.going.set()
        return await asyncio.gather(*asking)

    run(thread, many, max_batch=4)
    assert [len(one) for one in thread.batches] == [1, 4, 5, 1]


def test_a_full_queue_refuses_and_takes_again_when_it_is_empty() -> None:
    thread = Thread(is_held=True)

    async def full(batcher: Batcher) -> Any:
        asking = await held(batcher, thread, [1, 2, 3])
        with pytest.raises(QueueFull):
            await batcher.ask([4])
        thread.going.set()
        await asyncio.gather(*asking)
        return await batcher.ask([5])

    assert run(thread, full, max_waiting=3) == [50]


def test_who_waits_too_long_is_told_and_never_scored() -> None:
    thread = Thread(is_held=True)

    async def late(batcher: Batcher) -> Any:
        asking = await held(batcher, thread, [1])
        late = await asyncio.gather(*asking, return_exceptions=True)
        assert batcher.busy_seconds > 0
        batcher._timeout = 20.0
        thread.going.set()
        return late, await batcher.ask([2])

    told, after = run(thread, late, timeout=0.1)
    assert [type(one) for one in told] == [Late, Late]
    assert after == [20]
    assert thread.batches == [[0], [2]]


@pytest.mark.parametrize("given", [lambda questions: [], lambda questions: 1 / 0])
def test_a_thread_that_fails_is_told_to_all_of_the_batch_and_goes_on(given: Any) -> None:
    is_broken = [True]

    def score(questions: Sequence[Any]) -> Any:
        return given(questions) if is_broken[0] else questions

    async def failing(batcher: Batcher) -> Any:
        with pytest.raises(ScoringFailed):
            await batcher.ask([1])
        is_broken[0] = False
        return await batcher.ask([2])

    assert run(score, failing) == [2]
