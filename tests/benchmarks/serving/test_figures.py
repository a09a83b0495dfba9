"""The arithmetic of `make bench-serving`: ratios are of pairs of one round, and failures are no throughput."""

from dataclasses import replace

import pytest

from tests.benchmarks.serving.figures import OURS, Run, Start, ratio, table

ROUND = Run(requests=300, seconds=3.0, p50=1.0, p99=2.0, errors=0, cpu=0.6)


def test_a_rate_counts_only_what_was_answered_well() -> None:
    assert ROUND.rate == 100
    assert replace(ROUND, errors=150).rate == 50
    assert ROUND.work == pytest.approx(2.0)


def test_a_ratio_is_the_median_of_rounds_so_that_a_slow_moment_of_the_machine_hits_both() -> None:
    ours = [replace(ROUND, requests=one) for one in (900, 90, 9000)]
    theirs = [replace(ROUND, requests=one) for one in (300, 30, 300)]
    assert ratio({(OURS, "single"): ours, ("other", "single"): theirs}, "single", "other") == 3


def test_the_table_names_what_failed_and_fits_80_columns() -> None:
    runs = {(OURS, "single"): [ROUND], ("other", "single"): [replace(ROUND, requests=150, errors=50)]}
    written = table(runs, {OURS: Start((3.0, 2.0, 4.0), 300.4, 512.6)})
    assert max(map(len, written.splitlines())) <= 80
    assert "3.00 x |" in written
    assert "failed: 50" in written
    assert "3.0 (2.0 to 4.0)" in written
