"""What monitoring found, in lines that fit a terminal of 80 columns."""

from collections.abc import Iterator

from rich.text import Text

from perennial.records import Level, Measured
from perennial.watch.findings import Category

_TONES = {Level.ALERT: "red", Level.WARNING: "yellow", Level.INFO: "dim"}
_ROOM = 50
"""Columns for the names of drifted features; those that do not fit are counted."""


def finding_lines(measured: Measured) -> Iterator[Text]:
    """Write one line per finding, and one for all drifted features together, the most drifted first."""
    drifted = [one for one in measured.findings if one.category == Category.FEATURE_DRIFT]
    for one in measured.findings:
        if one not in drifted:
            yield Text(f"{one.category}: {one.summary}", style=_TONES[one.level])
    if drifted:
        indices = {one.subject: measured.drift.get(one.subject) or 0.0 for one in drifted}
        yield Text(f"{Category.FEATURE_DRIFT}: {_named(indices)}", style=_TONES[drifted[0].level])


def _named(indices: dict[str, float]) -> str:
    most = sorted(indices.items(), key=lambda one: one[1], reverse=True)
    told = [f"{name} {index:.2f}" for name, index in most]
    shown = [one for place, one in enumerate(told) if not place or len(", ".join(told[: place + 1])) <= _ROOM]
    left = len(told) - len(shown)
    return ", ".join(shown) + (f" and {left} more" if left else "")
