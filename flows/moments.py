"""The moment for which a run decides: any until now."""

from datetime import UTC, datetime, timedelta

from flows.entry import now
from perennial.errors import Permanent

CLOCKS_DIFFER = timedelta(minutes=10)
"""How far in the future the clock of who asks may be."""


class NotYet(Permanent):
    """A moment in the future was given."""


def until_now(moment: datetime) -> datetime:
    """Return a moment in UTC, which it is where it names no zone, as a `datetime` of Python's own.

    Prefect gives pendulum's, whose differences cannot be divided by a `timedelta`.

    Raises:
        NotYet: It is in the future.
    """
    moment = datetime.fromisoformat(moment.isoformat())
    moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    if moment > now() + CLOCKS_DIFFER:
        raise NotYet(
            f"{moment:%F %R} (UTC) is in the future. What is decided for a moment stands in the way of all that is "
            "decided before it, so nothing was done. Give a moment until now, or leave it out."
        )
    return moment
