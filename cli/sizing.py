"""How long the windows of a new use case are and how many rows they need, from how much data there is.

Labels that are known late take their delay twice: the newest rows have none yet, and what is learnt from must have
been known before the holdout began.
"""

import math
from dataclasses import dataclass
from datetime import timedelta

from perennial.periods import Every

_DAY = timedelta(days=1)
_HOLDOUT = 0.15
"""At most this share of the days that there are."""
_PERIOD = {Every.DAY: 1.0, Every.MONTH: 28.0, Every.YEAR: 365.0}
"""Days of the shortest period."""


@dataclass(frozen=True)
class Sizes:
    """Windows and least rows of a declaration."""

    holdout: timedelta
    validation: timedelta
    min_rows: int
    gate_rows: int
    min_labels: int
    first_model: timedelta
    """Span of data from which on a first model can be trained."""


def sizes(span: timedelta, labelled: int, every: Every, label_after: timedelta) -> Sizes:
    """Choose windows that hold several times the rows that a training needs.

    Args:
        span: From the first row to the last.
        labelled: Rows that have a label.
        every: Length of a period.
        label_after: How long after its event a label is known.
    """
    days = max(span / _DAY, 1.0)
    per_day = max(labelled, 1) / days
    min_rows = max(10, min(1000, labelled // 10))
    wanted = max(days * _HOLDOUT / 2, 300 / per_day)
    holdout = max(1, min(math.ceil(wanted), math.ceil(days * _HOLDOUT)))
    seen = max(holdout // 2, 1)
    validation = timedelta(days=seen) + label_after
    gate_rows = max(10, min(500, int(per_day * holdout / 2)))
    return Sizes(
        holdout=timedelta(days=holdout),
        validation=validation,
        min_rows=min_rows,
        gate_rows=gate_rows,
        min_labels=max(10, min(gate_rows, int(per_day * _PERIOD[every] / 2))),
        first_model=label_after + timedelta(days=holdout) + validation + timedelta(days=min_rows / per_day),
    )
