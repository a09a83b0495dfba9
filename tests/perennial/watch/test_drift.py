"""The index against hand calculation, counts that add up, and no alarm where nothing has changed."""

import math
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perennial.data.engine import Engine
from perennial.settings import Settings
from perennial.watch.drift import (
    Bins,
    CategoricalBins,
    Column,
    NumericBins,
    count_bins,
    has_drifted,
    noise_limit,
    population_stability_index,
)

COUNTS = st.lists(st.integers(0, 10_000), min_size=1, max_size=12)
EDGES = (-1.0, 0.0, 1.0)
NUMBERS = st.lists(st.none() | st.floats(allow_nan=True, allow_infinity=True), max_size=30)
TEXTS = st.lists(st.none() | st.sampled_from(["a", "b", "new", ""]), max_size=30)


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with Engine(Settings(environment="test", storage_root="", threads=1)) as opened:
        yield opened


def numeric(edges: tuple[float, ...] = EDGES, counts: tuple[int, ...] = (), missing: int = 0) -> NumericBins:
    return NumericBins(edges=edges, counts=counts, missing=missing)


def counted(engine: Engine, bins: Bins, values: list[object], kind: pa.DataType) -> Column:
    engine.arrow("rows", pa.table({"x": pa.array(values, kind)}))
    return count_bins(engine, "rows", {"x": bins})["x"]


def test_index_is_what_a_hand_calculation_gives() -> None:
    by_hand = 0.3 * math.log(0.6 / 0.3) + 0.3 * math.log(0.7 / 0.4)
    assert population_stability_index([600_000, 400_000], [300_000, 700_000]) == pytest.approx(by_hand, abs=1e-5)


def test_half_a_row_more_per_bin_keeps_an_empty_bin_finite() -> None:
    (p, q), (r, t) = (10.5 / 11, 5.5 / 11), (0.5 / 11, 5.5 / 11)
    by_hand = (q - p) * math.log(q / p) + (t - r) * math.log(t / r)
    assert population_stability_index([10, 0], [5, 5]) == pytest.approx(by_hand)


@given(COUNTS)
def test_index_of_equal_counts_is_zero(counts: list[int]) -> None:
    index = population_stability_index(counts, counts)
    assert index is None if sum(counts) == 0 else index == 0


@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 10_000)), min_size=1, max_size=12))
def test_index_is_finite_and_not_negative_or_undefined(pairs: list[tuple[int, int]]) -> None:
    before, now = zip(*pairs, strict=True)
    index = population_stability_index(before, now)
    if sum(before) and sum(now):
        assert index is not None and math.isfinite(index) and index >= -1e-12
    else:
        assert index is None


def test_bins_that_are_empty_on_both_sides_change_nothing() -> None:
    assert population_stability_index([5, 0, 95], [50, 0, 50]) == population_stability_index([5, 95], [50, 50])


def test_counts_of_different_bins_are_refused() -> None:
    with pytest.raises(ValueError):
        population_stability_index([1, 2], [1, 2, 3])


def test_an_edge_belongs_to_the_bin_below_it(engine: Engine) -> None:
    column = counted(engine, numeric(), [-1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 99.0], pa.float64())
    assert column.counts == (1, 2, 2, 2, 0)


def test_null_nan_and_infinities_are_missing(engine: Engine) -> None:
    column = counted(engine, numeric(), [None, math.nan, math.inf, -math.inf, 0.0], pa.float64())
    assert column.counts == (0, 1, 0, 0, 4)
    assert column.missing == 4


def test_a_column_without_edges_has_one_bin_of_values(engine: Engine) -> None:
    assert counted(engine, numeric(edges=()), [1.0, None], pa.float64()).counts == (1, 1)


def test_unseen_values_are_counted_as_other_and_named(engine: Engine) -> None:
    bins = CategoricalBins(values=("a", ""), counts=(), other=0, missing=0)
    column = counted(engine, bins, ["a", "", "c", "c", "d", None], pa.string())
    assert column.counts == (1, 1, 3, 1)
    assert (column.other, column.missing) == (3, 1)
    assert set(column.unseen) == {"c", "d"}


def test_values_with_quotes_are_values(engine: Engine) -> None:
    bins = CategoricalBins(values=("o'hare", 'say "x"'), counts=(), other=0, missing=0)
    assert counted(engine, bins, ["o'hare", 'say "x"'], pa.string()).counts == (1, 1, 0, 0)


def test_a_column_that_became_text_is_missing_where_it_is_no_number(engine: Engine) -> None:
    assert counted(engine, numeric(), ["zero", "0", None], pa.string()).counts == (0, 1, 0, 0, 2)


def test_a_column_that_is_not_there_is_left_out(engine: Engine) -> None:
    engine.arrow("rows", pa.table({"x": [1.0]}))
    assert set(count_bins(engine, "rows", {"x": numeric(), "gone": numeric()})) == {"x"}
    assert count_bins(engine, "rows", {"gone": numeric()}) == {}


def test_no_rows_are_counted_as_nothing(engine: Engine) -> None:
    column = counted(engine, numeric(), [], pa.float64())
    assert column == Column(counts=(0, 0, 0, 0, 0), constant=False)
    assert not has_drifted(numeric(counts=(5, 5, 5, 5)), column, 0.1)


@pytest.mark.parametrize(
    ("values", "constant"),
    [([1.0, 1.0], True), ([1.0, 2.0], False), ([1.0, None], True), ([None, None], False), ([math.nan, 1.0], True)],
)
def test_a_column_is_constant_when_all_its_values_are_one(engine: Engine, values: list[object], constant: bool) -> None:
    assert counted(engine, numeric(), values, pa.float64()).constant is constant


@given(NUMBERS, NUMBERS)
def test_counts_of_two_parts_add_up_to_those_of_the_whole(
    engine: Engine, first: list[float | None], second: list[float | None]
) -> None:
    parts = [counted(engine, numeric(), values, pa.float64()).counts for values in (first, second)]
    whole = counted(engine, numeric(), first + second, pa.float64()).counts
    assert tuple(map(sum, zip(*parts, strict=True))) == whole
    assert sum(whole) == len(first) + len(second)


@given(TEXTS, TEXTS)
def test_counts_of_texts_add_up_too(engine: Engine, first: list[str | None], second: list[str | None]) -> None:
    bins = CategoricalBins(values=("a", "b"), counts=(), other=0, missing=0)
    parts = [counted(engine, bins, values, pa.string()).counts for values in (first, second)]
    assert tuple(map(sum, zip(*parts, strict=True))) == counted(engine, bins, first + second, pa.string()).counts


@pytest.mark.parametrize("rows", [20, 200, 20_000])
def test_two_random_halves_raise_no_alarm(engine: Engine, rows: int) -> None:
    random = np.random.default_rng(1)
    edges = tuple(np.quantile(random.normal(size=10_000), np.arange(1, 10) / 10))
    halves = [counted(engine, numeric(edges), list(random.normal(size=rows)), pa.float64()) for _ in range(2)]
    reference = numeric(edges, halves[0].counts[:-1])
    assert not has_drifted(reference, halves[1], 0.05)


def test_a_shift_is_drift_and_few_rows_alone_are_not(engine: Engine) -> None:
    reference = numeric(counts=(250, 250, 250, 250))
    assert has_drifted(reference, Column((100, 100, 300, 500, 0), constant=False), 0.2)
    assert not has_drifted(reference, Column((0, 0, 1, 2, 0), constant=False), 0.2)


def test_noise_limit_holds_what_chance_does() -> None:
    """One in a thousand by construction; a hundred draws from the same shares stay below."""
    random, shares = np.random.default_rng(7), np.full(10, 0.1)
    before = random.multinomial(5_000, shares)
    indices = [population_stability_index(before, random.multinomial(300, shares)) for _ in range(100)]
    limit = noise_limit(before, [30] * 10)
    assert max(one for one in indices if one is not None) < limit < 0.2
    assert noise_limit(before, [0] * 10) == math.inf
