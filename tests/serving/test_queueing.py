"""Waiting for a processor is told from working, where other processes keep it busy."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from time import perf_counter, sleep, thread_time

import pytest

from serving.queueing import queued_seconds

pytestmark = pytest.mark.skipif(not Path("/proc/thread-self/schedstat").exists(), reason="no kernel that tells")


@pytest.fixture
def busy_processor() -> Iterator[int]:
    """One processor that three other processes keep busy, of those that this one may use."""
    number = min(os.sched_getaffinity(0))
    spin = f"import os; os.sched_setaffinity(0, {{{number}}}); print(flush=True)\nwhile True: pass"
    others = [subprocess.Popen([sys.executable, "-c", spin], stdout=subprocess.PIPE) for _ in range(3)]
    try:
        for one in others:
            assert one.stdout and one.stdout.readline()
        yield number
    finally:
        for one in others:
            one.kill()
            one.communicate()


def waited_and_wall(processor: int) -> tuple[float, float]:
    """Work for a tenth of a second of processor time in a thread of its own, on one processor."""
    found: list[tuple[float, float]] = []

    def work() -> None:
        os.sched_setaffinity(0, {processor})
        began, queued, worked = perf_counter(), queued_seconds(), thread_time()
        while thread_time() - worked < 0.1:
            pass
        found.append((queued_seconds() - queued, perf_counter() - began))

    thread = Thread(target=work)
    thread.start()
    thread.join()
    return found[0]


def test_the_time_without_a_processor_is_what_is_left_out(busy_processor: int) -> None:
    """On a machine whose own host is busy some time is nobody's: one try of several has to come out even."""
    tries = (waited_and_wall(busy_processor) for _ in range(20))
    assert any(wall > 0.15 and wall - waited == pytest.approx(0.1, abs=0.05) for waited, wall in tries)


def test_sleeping_is_no_waiting_for_a_processor() -> None:
    """Who wakes up may well wait for a processor then, so the best of several tries counts."""

    def queued_over_sleep() -> float:
        queued = queued_seconds()
        sleep(0.2)
        return queued_seconds() - queued

    assert any(queued_over_sleep() < 0.1 for _ in range(20))
