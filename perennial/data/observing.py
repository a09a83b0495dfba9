"""When a period can be said to have rows, or none: not before it begins, and none only when it is over.

It counts nothing; `features` asks it.
"""

from collections.abc import Sequence
from datetime import datetime

from perennial.errors import Permanent
from perennial.periods import Period
from perennial.records import Accepted
from perennial.use_case import UseCase


class NoObservations(Permanent):
    """The entity has no rows in the period, and no delivery can say yet that nothing happened."""


class NotBegun(Permanent):
    """The period begins after the moment, so nothing of it could be known."""


def require_begun(use_case: UseCase, period: Period, as_of: datetime) -> None:
    """Nothing is known of a period before it begins.

    Raises:
        NotBegun: It begins after `as_of`.
    """
    if as_of < period.start:
        raise NotBegun(
            f"`{period}` of `{use_case.slug}` begins at {period.start:%F %R} UTC, so nothing of it could be known at "
            f"{as_of:%F %R}. Expected a moment in it or after it: give a later `--as-of`."
        )


def require_over(use_case: UseCase, period: Period, deliveries: Sequence[Accepted], as_of: datetime) -> None:
    """Only of a period that is over can its delivery say that nothing happened.

    Raises:
        NoObservations: None of the deliveries is that of the entity, or the period was not over at `as_of`.
    """
    name = f"`{use_case.entity}` in `{period}`"
    if (use_case.entity, period.label) not in {(one.source, one.period) for one in deliveries}:
        raise NoObservations(
            f"`{use_case.slug}` has no accepted rows of {name}, so there are no features to build. Ingest and validate "
            f"`{use_case.entity}` for `{period}` first."
        )
    if as_of < period.end:
        raise NoObservations(
            f"`{use_case.slug}` has no rows of {name} that were known at {as_of:%F %R} UTC, and the period was not "
            f"over before {period.end:%F %R}, so that some may still have come. Give a later `--as-of`."
        )
