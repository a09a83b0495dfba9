"""What the columns of a period tell: features that are missing, constant, unseen or drifted, and drifted scores.

Pure functions from counts to findings. A missing or constant column is reported as what it is, never as undrifted.
"""

from collections.abc import Iterator, Mapping
from itertools import pairwise

from perennial.records import Finding, Level
from perennial.use_case import Monitoring
from perennial.watch.drift import (
    SCORE,
    Bins,
    CategoricalBins,
    Column,
    NumericBins,
    chance_of_one_bin,
    has_drifted,
    noise_limit,
    population_stability_index,
)
from perennial.watch.findings import NOTABLE_SHARE, Category, number

_CHANCE = 0.001


def input_findings(
    reference: Mapping[str, Bins], current: Mapping[str, Column], monitoring: Monitoring
) -> Iterator[Finding]:
    """Say for each feature of the reference whether it is missing, constant, unseen or drifted.

    A feature that is missing or constant is never also "not drifted": it is reported as what it is.
    """
    for name, bins in reference.items():
        column = current.get(name)
        if column is None:
            yield _missing(name)
        elif column.rows:
            yield from _of_column(name, bins, column, monitoring)


def score_findings(reference: NumericBins, score: Column, monitoring: Monitoring) -> Iterator[Finding]:
    """Say whether the scores have drifted, or say the same for every row."""
    if score.rows and _became_constant(reference, score):
        yield _constant(SCORE, reference, score)
    elif has_drifted(reference, score, monitoring.drift):
        yield _drifted(Category.SCORE_DRIFT, Level.ALERT, SCORE, reference, score, monitoring.drift)


def _of_column(name: str, bins: Bins, column: Column, monitoring: Monitoring) -> Iterator[Finding]:
    if _became_constant(bins, column):
        yield _constant(name, bins, column)
        return
    if isinstance(bins, CategoricalBins) and column.other / column.rows > bins.other / max(1, sum(bins.all_counts)):
        yield _new_category(name, column)
    if has_drifted(bins, column, monitoring.drift):
        yield _drifted(Category.FEATURE_DRIFT, Level.WARNING, name, bins, column, monitoring.drift)


def _became_constant(bins: Bins, column: Column) -> bool:
    if column.missing == column.rows:
        missing_before = bins.missing / max(1, sum(bins.all_counts))
        return bool(missing_before**column.rows < _CHANCE)
    return column.constant and chance_of_one_bin(bins, column.rows - column.missing) < _CHANCE


def _missing(name: str) -> Finding:
    return Finding(
        level=Level.ALERT,
        category=Category.MISSING_COLUMN,
        subject=name,
        summary=f"The feature `{name}` is missing.",
        detail=f"The model was fitted on `{name}`; the features of this period have no such column, so its drift is "
        "undefined and every score is made without it.",
        resolution=f"Select `{name}` in the features query again, or train a model without it.",
    )


def _constant(name: str, bins: Bins, column: Column) -> Finding:
    empty = column.missing == column.rows
    filled = sum(map(bool, bins.all_counts[:-1]))
    return Finding(
        level=Level.ALERT if empty else Level.WARNING,
        category=Category.CONSTANT_COLUMN,
        subject=name,
        summary=f"`{name}` has {'no value' if empty else 'one single value'} in all {column.rows:,} rows.",
        detail=f"In the reference its values lie in {filled} bins, and {bins.missing:,} of {sum(bins.all_counts):,} "
        f"rows have none; now {column.missing:,} of {column.rows:,} have none.",
        resolution="Look at the source that it comes from. A feature that cannot vary within a period, such as the "
        "month, can be left as it is.",
    )


def _new_category(name: str, column: Column) -> Finding:
    share = column.other / column.rows
    listed = ", ".join(f"`{value}`" for value in column.unseen)
    return Finding(
        level=Level.WARNING if share >= NOTABLE_SHARE else Level.INFO,
        category=Category.NEW_CATEGORY,
        subject=name,
        summary=f"`{name}` has unseen values in {column.other:,} of {column.rows:,} rows ({share:.2%}).",
        detail=f"The model was not fitted on them; the most frequent: {listed}. To the model they are missing values.",
        resolution="If they are real, the next training learns them; if they are misspelt, declare `values` for the "
        "column in its contract.",
    )


def _drifted(category: Category, level: Level, name: str, bins: Bins, column: Column, limit: float) -> Finding:
    index = population_stability_index(bins.all_counts, column.counts)
    noise = noise_limit(bins.all_counts, column.counts)
    return Finding(
        level=level,
        category=category,
        subject=name,
        summary=f"`{name}` has drifted: population stability index {number(index)}, limit {limit}.",
        detail=f"{_largest_move(bins, column)} Chance alone stays below {noise:.3f} with {column.rows:,} rows. "
        f"Missing: {_share(bins.missing, sum(bins.all_counts))} before, {_share(column.missing, column.rows)} now.",
        resolution="See the report for both distributions. If the change is real and performance suffers, train; if "
        "it is a season that training has seen, raise `monitoring.drift`.",
    )


def _largest_move(bins: Bins, column: Column) -> str:
    before, now = sum(bins.all_counts), column.rows
    shares = [(p / before, q / now) for p, q in zip(bins.all_counts, column.counts, strict=True)]
    place = max(range(len(shares)), key=lambda i: abs(shares[i][1] - shares[i][0]))
    return f"{_bin_names(bins)[place]} went from {shares[place][0]:.1%} to {shares[place][1]:.1%} of the rows."


def _bin_names(bins: Bins) -> list[str]:
    if isinstance(bins, CategoricalBins):
        return [*(f"`{value}`" for value in bins.values), "Other values", "Missing values"]
    if not bins.edges:
        return ["Values", "Missing values"]
    edges = [f"{edge:.6g}" for edge in bins.edges]
    inner = [f"Values above {low} up to {high}" for low, high in pairwise(edges)]
    return [f"Values up to {edges[0]}", *inner, f"Values above {edges[-1]}", "Missing values"]


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "unknown"
