"""What a registered model brings along: plots, slices and the model card, made from its holdout scores.

It fits and judges nothing, and stores nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perennial.model.card import Slice, model_card, slices_csv, summary
from perennial.model.metrics import Scores, interval
from perennial.records import Trained
from perennial.use_case import UseCase

_MOST_VALUES = 15
_RESAMPLES = 200


@dataclass(frozen=True)
class Evidence:
    """What people look at before they trust a model."""

    summary: str
    """Two sentences."""
    files: dict[str, bytes]
    """Model card, plots and slices by file name."""


def make_evidence(
    use_case: UseCase, trained: Trained, scores: Scores, importance: dict[str, float], as_of: datetime, uri: str
) -> Evidence:
    """Draw and write the evidence of the kept candidate.

    Args:
        use_case: What was declared.
        trained: The training that kept it.
        scores: Of the kept model on the holdout.
        importance: Per feature its share, as the estimator tells it.
        as_of: Moment of the registration, UTC.
        uri: Address of the registry, without credentials.
    """
    from perennial.model.plots import draw_importance, draw_plots

    kept = next(one for one in trained.candidates if one.name == trained.candidate)
    parts = list(slices(use_case, scores))
    files = draw_plots(use_case.task, scores, kept.metrics)
    if any(importance.values()):
        files["importance.png"] = draw_importance(importance)
    files["slices.csv"] = slices_csv(parts).encode()
    files["model-card.md"] = model_card(use_case, trained, parts, as_of, uri).encode()
    return Evidence(summary(use_case, trained), files)


def slices(use_case: UseCase, scores: Scores) -> Iterator[Slice]:
    """Measure the primary metric on the parts of the holdout that the gate's slices name.

    Yields:
        Per declared column its values with enough rows, the most frequent first, at most 15.
    """
    declared = use_case.gate.slices
    for column in declared.columns if declared else ():
        texts = scores.slices[column].astype(str)
        for value in _frequent(texts, declared.min_rows if declared else 0):
            rows = texts == value
            found = interval(use_case.metrics.primary, scores.y[rows], scores.score[rows], resamples=_RESAMPLES)
            yield Slice(column, value, found)


def _frequent(texts: NDArray[Any], min_rows: int) -> list[str]:
    values, counts = np.unique(texts, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:_MOST_VALUES]
    return [str(values[place]) for place in order if counts[place] >= min_rows]
