"""Whether what was found in a delivery is more than its contract bears, and how to say so; pure, it writes nothing."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from perennial.data.contract import Difference, difference_table
from perennial.data.inspection import Findings
from perennial.periods import format_duration
from perennial.records import Received
from perennial.source_spec import Source
from perennial.use_case import UseCase

_PROBLEMS_NAMED = 6


@dataclass(frozen=True)
class Breach:
    """Why a delivery is refused."""

    problems: tuple[str, ...]
    """What people read, worst first."""
    columns: frozenset[str]
    """Columns that it is about."""
    reasons: dict[str, int]
    """Rows per reason."""
    share: str = ""
    """How many rows are bad and how many may be, as a sentence."""
    table: str = ""
    """Columns that are not as declared, a line each."""


def breach_of_columns(found: Sequence[Difference], rows: int) -> Breach | None:
    """Refuse a delivery whose columns are not as declared: its rows cannot be judged."""
    if not found:
        return None
    problems = tuple(str(one) for one in found)
    columns = frozenset(one.column for one in found)
    return Breach(problems, columns, dict.fromkeys(problems, rows), table=difference_table(found))


def breach_of_rows(source: Source, findings: Findings, end: datetime | None) -> Breach | None:
    """Refuse a delivery with too few, too many, too old or too many bad rows.

    Args:
        source: What is declared.
        findings: What was found.
        end: End of its period; `None` for a reference source.
    """
    bad = findings.rows - findings.good
    whole = [*_volume(source, findings.rows), *_age(source, findings, end)]
    reasons = dict.fromkeys(whole, findings.rows) | findings.reasons
    if bad > source.tolerance * findings.rows:
        whole += [_problem(reason, rows, findings.examples) for reason, rows in findings.reasons.items()]
    if not whole:
        return None
    columns = frozenset(column for one in findings.reasons for column in columns_in(one))
    return Breach(tuple(whole), columns, reasons, _share(bad, findings.rows, source.tolerance))


def explain(use_case: UseCase, received: Received, breach: Breach) -> str:
    """Say what happened, what was expected and what to do."""
    name, declared = received.source, len(use_case.sources[received.source].columns)
    what = f" in {len(breach.columns)} of {declared} columns" if breach.columns else ""
    left = len(breach.problems) - _PROBLEMS_NAMED
    named = [*breach.problems[:_PROBLEMS_NAMED], *([f"{left} more"] if left > 0 else [])]
    text = (
        f"`{use_case.slug}`: delivery `{received.period}` of `{name}` breaks its contract{what}: {'; '.join(named)}. "
        f"{breach.share}Nothing was written. Fix the source and ingest it again, or widen `sources.{name}` in "
        f"{use_case.folder.parent.name}/{use_case.slug}/use_case.yaml and validate it again."
    )
    return f"{text}\n\n{breach.table}" if breach.table else text


def columns_in(reason: str) -> list[str]:
    """Return the column that a reason is about, if it is about one."""
    return re.findall(r"^`(\w+)`", reason)


def _volume(source: Source, rows: int) -> list[str]:
    low, high = source.volume.min_rows, source.volume.max_rows
    if rows < low:
        return [f"{rows:,} rows, expected {low:,} or more"]
    return [f"{rows:,} rows, expected {high:,} or fewer"] if high is not None and rows > high else []


def _age(source: Source, findings: Findings, end: datetime | None) -> list[str]:
    if source.freshness is None or end is None or findings.newest is None:
        return []
    earliest = end - source.freshness
    if findings.newest >= earliest:
        return []
    return [
        f"newest row {findings.newest:%Y-%m-%d %H:%M}, expected {earliest:%Y-%m-%d %H:%M} or later "
        f"(`freshness` {format_duration(source.freshness)})"
    ]


def _share(bad: int, rows: int, tolerance: float) -> str:
    return f"Bad are {bad:,} of {rows:,} rows ({bad / rows:.2%}), at most {tolerance:.2%} may be. " if bad else ""


def _problem(reason: str, rows: int, examples: dict[str, list[str]]) -> str:
    shown = [f"`{_short(one)}`" for one in examples.get(reason, [])]
    such = f" (such as {', '.join(shown)})" if shown else ""
    return f"{reason} in {rows:,} row{'' if rows == 1 else 's'}{such}"


def _short(text: str) -> str:
    return text if len(text) <= 30 else text[:29] + "…"
