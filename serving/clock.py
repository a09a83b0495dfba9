"""The time, read where the service begins; everything that decides gets it as an argument."""

from datetime import UTC, datetime


def now() -> datetime:
    """Return this moment."""
    return datetime.now(UTC)
