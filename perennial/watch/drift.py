"""How far columns have moved from the model's reference: counts per bin, compared by the population stability index.

It reads each table once and says numbers; what they mean is said by `findings`.
"""

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field

from perennial.data.engine import Engine, quote, quote_text
from perennial.records import Frozen

SCORE = "score"
_CERTAINTY = 0.999
_NAMED_VALUES = 5


class NumericBins(Frozen):
    """A numeric column in the reference: bin i holds edges[i-1] < x <= edges[i], the outer ones are open."""

    kind: Literal["numeric"] = "numeric"
    edges: tuple[float, ...]
    """Inner edges, ascending; one fewer than the bins."""
    counts: tuple[int, ...]
    missing: int
    """Rows where it was NULL, NaN or infinite, which are a bin of their own and missing to the model."""

    @property
    def all_counts(self) -> tuple[int, ...]:
        """Rows per bin, those of missing values last."""
        return (*self.counts, self.missing)


class CategoricalBins(Frozen):
    """A categorical column in the reference: one bin per known value, one for all others, one for missing."""

    kind: Literal["categorical"] = "categorical"
    values: tuple[str, ...]
    counts: tuple[int, ...]
    other: int
    missing: int

    @property
    def all_counts(self) -> tuple[int, ...]:
        """Rows per bin, those of other and of missing values last."""
        return (*self.counts, self.other, self.missing)


Bins = Annotated[NumericBins | CategoricalBins, Field(discriminator="kind")]


class Reference(Frozen):
    """What the model saw when it was fitted and judged: `reference.json` of its artifact."""

    features: dict[str, Bins]
    score: NumericBins
    rows: int


class Column(NamedTuple):
    """One column as it is now, counted in the bins of the reference."""

    counts: tuple[int, ...]
    """Rows per bin in the order of the reference, those of missing values last."""
    constant: bool
    """Whether all values that are there are the same one."""
    unseen: tuple[str, ...] = ()
    """Some of the values that the reference does not have, the most frequent first."""

    @property
    def rows(self) -> int:
        """Rows in all."""
        return sum(self.counts)

    @property
    def missing(self) -> int:
        """Rows where it is NULL, NaN or infinite."""
        return self.counts[-1]

    @property
    def other(self) -> int:
        """Rows of a categorical column whose value the reference does not list."""
        return self.counts[-2]


def count_bins(engine: Engine, view: str, bins: Mapping[str, Bins]) -> dict[str, Column]:
    """Count the rows of a view per bin of each reference column, all columns in one pass.

    Counts of two sets of rows add up to the counts of both together, so a partition never needs to be read
    twice. A column that the view lacks is left out, for the caller to name; one that changed its type counts as
    missing where it cannot be read as the reference's type.
    """
    held = set(engine.schema(f"SELECT * FROM {quote(view)}").names)
    asked = {name: one for name, one in bins.items() if name in held}
    if not asked:
        return {}
    selected = [part for place, name in enumerate(asked) for part in _expressions(place, name, asked[name])]
    sql = f"SELECT count(*) AS rows, {', '.join(selected)} FROM {quote(view)}"
    row = engine.table(sql, name=f"bins of {view}").to_pylist()[0]
    return {name: _column(row, place, asked[name]) for place, name in enumerate(asked)}


def population_stability_index(reference_counts: Sequence[int], current_counts: Sequence[int]) -> float | None:
    """Measure how far a binned distribution has moved: the sum of (q - p) ln(q / p) over the bins.

    Below 0.1 is usually read as no change, from 0.2 or 0.25 as a large one (Siddiqi 2006, Credit Risk
    Scorecards, ch. 7). Each bin gets half a row more, so that one that is empty on one side counts without being
    infinite; bins that are empty on both sides say nothing and are left out.

    Args:
        reference_counts: Rows per bin, with missing and unseen values as bins of their own.
        current_counts: The same bins now.

    Returns:
        0 or more; `None` when one side has no rows.
    """
    pairs = [pair for pair in zip(reference_counts, current_counts, strict=True) if any(pair)]
    before, now = sum(reference_counts), sum(current_counts)
    if not before or not now:
        return None
    added = len(pairs) / 2
    shares = [((p + 0.5) / (before + added), (q + 0.5) / (now + added)) for p, q in pairs]
    return math.fsum((q - p) * math.log(q / p) for p, q in shares)


def noise_limit(reference_counts: Sequence[int], current_counts: Sequence[int]) -> float:
    """Return the index that chance alone exceeds in one of a thousand comparisons of unchanged data.

    For n and m rows in B bins the index is distributed as (1/n + 1/m) chi-square with B - 1 degrees of freedom
    (Yurdakul 2018, Statistical Properties of Population Stability Index); its quantile is that of Wilson and
    Hilferty (1931). Infinite when one side has no rows.
    """
    before, now = sum(reference_counts), sum(current_counts)
    if not before or not now:
        return math.inf
    freedom = max(1, sum(map(any, zip(reference_counts, current_counts, strict=True))) - 1)
    spread = 2 / (9 * freedom)
    quantile = freedom * (1 - spread + NormalDist().inv_cdf(_CERTAINTY) * math.sqrt(spread)) ** 3
    return (1 / before + 1 / now) * quantile


def has_drifted(reference: Bins, current: Column, limit: float) -> bool:
    """Say whether a column has moved by `limit` or more, and by more than chance explains."""
    return have_parted(reference.all_counts, current.counts, limit)


def have_parted(counts: Sequence[int], others: Sequence[int], limit: float) -> bool:
    """Say whether two sets of rows are apart by `limit` or more, and by more than chance explains.

    Args:
        counts: Rows per bin of the one.
        others: Rows per bin of the other; of no rows nothing can be said.
        limit: Of the population stability index.
    """
    index = population_stability_index(counts, others)
    return index is not None and index >= max(limit, noise_limit(counts, others))


def chance_of_one_bin(reference: Bins, rows: int) -> float:
    """Return the probability that so many rows of unchanged data all fall into one bin, missing values aside."""
    counts = reference.all_counts[:-1]
    return math.fsum((count / sum(counts)) ** rows for count in counts) if any(counts) else 1.0


def _expressions(place: int, name: str, bins: Bins) -> list[str]:
    if isinstance(bins, NumericBins):
        number = f"TRY_CAST({quote(name)} AS DOUBLE)"
        value = f"CASE WHEN isfinite({number}) THEN {number} END"
        edges = ", ".join(repr(float(edge)) for edge in bins.edges)
        counted, unseen = f"histogram({value}, [{edges}]::DOUBLE[])", "NULL"
    else:
        value = f"CAST({quote(name)} AS VARCHAR)"
        listed = ", ".join(map(quote_text, bins.values))
        known = f"{value} IN ({listed})" if listed else "FALSE"
        counted = f"histogram(CASE WHEN {known} THEN {value} END)"
        unseen = f"approx_top_k(CASE WHEN NOT ({known}) THEN {value} END, {_NAMED_VALUES})"
    parts = {"counts": counted, "held": f"count({value})", "unseen": unseen}
    parts["constant"] = f"coalesce(min({value}) = max({value}), FALSE)"
    return [f"{sql} AS {part}_{place}" for part, sql in parts.items()]


def _column(row: dict[str, Any], place: int, bins: Bins) -> Column:
    found = dict(row[f"counts_{place}"] or ())
    held = int(row[f"held_{place}"])
    known = bins.edges if isinstance(bins, NumericBins) else bins.values
    counts = [int(found.get(one, 0)) for one in known]
    return Column(
        counts=(*counts, held - sum(counts), int(row["rows"]) - held),
        constant=bool(row[f"constant_{place}"]),
        unseen=tuple(row[f"unseen_{place}"] or ()),
    )
