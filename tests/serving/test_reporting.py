"""What counts as slow: the time of a pass, less what it spent without a processor."""

from datetime import UTC, datetime

import pytest

from serving.reporting import Tally

SINCE = datetime(2024, 5, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "waited", "slow"), [(0.09, 0.0, 0), (0.11, 0.0, 3), (0.5, 0.45, 0), (0.5, 0.35, 3), (0.1, 0.0, 0)]
)
def test_only_time_with_a_processor_makes_an_answer_slow(seconds: float, waited: float, slow: int) -> None:
    tally = Tally(0.1)
    tally.add("release/1", 3, 1, seconds, SINCE, waited)
    counts = tally.counts()["release/1"]
    assert (counts.answers, counts.errors, counts.slow) == (3, 1, slow)
