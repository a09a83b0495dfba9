"""What a model saw when it was fitted and judged, as counts per bin; comparing with it is for `watch/drift`.

Features are counted on the fit rows, the score on the holdout rows.
"""

from collections.abc import Mapping

import pyarrow as pa

from perennial.data.engine import Engine, quote
from perennial.model.encoding import Encoder
from perennial.model.metrics import Vector
from perennial.watch.drift import SCORE, Bins, CategoricalBins, Column, NumericBins, Reference, count_bins

_INNER_EDGES = 9


def reference_features(engine: Engine, view: str, encoder: Encoder) -> dict[str, Bins]:
    """Bin each feature of a view: at most ten bins of equal size for a number, one per category for a text."""
    bins: dict[str, Bins] = dict(_numeric_bins(engine, view, encoder.numeric))
    for name, known in encoder.categories.items():
        bins[name] = CategoricalBins(values=known, counts=(), other=0, missing=0)
    return _counted(engine, view, {name: bins[name] for name in encoder.features})


def reference_of(engine: Engine, features: Mapping[str, Bins], scores: Vector, rows: int) -> Reference:
    """Put the bins of the features, those of some scores and the number of fit rows together."""
    engine.arrow("reference_scores", pa.table({SCORE: scores}))
    counted = _counted(engine, "reference_scores", _numeric_bins(engine, "reference_scores", [SCORE]))
    score = counted[SCORE]
    assert isinstance(score, NumericBins)
    return Reference(features=dict(features), score=score, rows=rows)


def _numeric_bins(engine: Engine, view: str, names: tuple[str, ...] | list[str]) -> dict[str, NumericBins]:
    """Quantiles are exact, so that they do not depend on threads; equal ones make one edge."""
    if not names:
        return {}
    shares = [number / (_INNER_EDGES + 1) for number in range(1, _INNER_EDGES + 1)]
    numbers = {name: f"TRY_CAST({quote(name)} AS DOUBLE)" for name in names}
    quantiles = [f"quantile_disc(CASE WHEN isfinite({one}) THEN {one} END, {shares})" for one in numbers.values()]
    listed = ", ".join(f"{sql} AS edges_{place}" for place, sql in enumerate(quantiles))
    row = engine.table(f"SELECT {listed} FROM {quote(view)}", name=f"quantiles of {view}").to_pylist()[0]
    edges = (row[f"edges_{place}"] or () for place in range(len(names)))
    return {
        name: NumericBins(edges=tuple(sorted(set(found))), counts=(), missing=0)
        for name, found in zip(names, edges, strict=True)
    }


def _counted(engine: Engine, view: str, bins: Mapping[str, Bins]) -> dict[str, Bins]:
    found = count_bins(engine, view, bins)
    return {name: _filled(one, found[name]) for name, one in bins.items()}


def _filled(bins: Bins, column: Column) -> Bins:
    if isinstance(bins, NumericBins):
        return bins.model_copy(update={"counts": column.counts[:-1], "missing": column.missing})
    return bins.model_copy(update={"counts": column.counts[:-2], "other": column.other, "missing": column.missing})
