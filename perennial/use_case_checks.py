"""What a `use_case.yaml` may get wrong although each value has the right form; it reads no data.

Each check names the place of the mistake, from which `use_case_file` finds the line.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from perennial.errors import nearest
from perennial.plain_yaml import Place
from perennial.source_spec import PythonRead, Source, whole
from perennial.use_case import TAKEN_NAMES, UseCase

ESTIMATOR_NAMES = {
    "binary": ("majority", "logistic_regression", "xgboost"),
    "regression": ("mean", "ridge", "xgboost"),
}
"""Names of estimators by task; `model/estimators` says what they do."""
RESERVED = "prefect|mlflow|worker|.*-(canary|stable)"
"""Names that deployments/kubernetes gives to what is no use case, or to a part of one."""

BESIDE_SOURCES = ("asked_rows", "computed_features", "labels", "observations", "query_result", "stored_features")
"""Views and tables that stand beside those of the sources where the features query runs."""

_LIMITS = {"min": ("integer", "number"), "max": ("integer", "number"), "values": ("string",), "pattern": ("string",)}
"""Types of the columns that a limit can be checked on."""

Contradiction = tuple[Place, str]


def contradictions(use_case: UseCase, root: Path) -> Iterator[Contradiction]:
    """Yield what does not fit together in a declaration, with its place.

    Args:
        use_case: Every value of it has the right form.
        root: Folder `use_cases/`, below which adapters lie.
    """
    yield from _service(use_case)
    yield from _metrics(use_case)
    yield from _estimators(use_case)
    yield from _key(use_case)
    yield from _label(use_case)
    yield from _features(use_case)
    yield from _schedules(use_case)
    for name, source in use_case.sources.items():
        if problem := _source_name_problem(name, use_case):
            yield ("sources", name), problem
        yield from _source(("sources", name), source, root)


def _service(use_case: UseCase) -> Iterator[Contradiction]:
    if use_case.serving is not None and re.fullmatch(RESERVED, use_case.slug):
        what = (
            f"`{use_case.slug}` is the name of something else on a cluster, where a service is called as its use case"
        )
        yield ("serving",), f"{what}; choose one that does not fit `{RESERVED}`"


def _metrics(use_case: UseCase) -> Iterator[Contradiction]:
    from perennial.model.metrics import METRICS

    known = tuple(name for name, metric in METRICS.items() if metric.task == use_case.task)
    named: list[Contradiction] = [(("metrics", "primary"), use_case.metrics.primary)]
    named += [(("metrics", "also", number), name) for number, name in enumerate(use_case.metrics.also)]
    for place, name in named:
        if name not in known:
            yield place, _unknown(name, f"metric for `{use_case.task}`", known)


def _estimators(use_case: UseCase) -> Iterator[Contradiction]:
    known = ESTIMATOR_NAMES[use_case.task]
    for name, candidate in use_case.training.candidates.items():
        if candidate.estimator not in known:
            place = ("training", "candidates", name, "estimator")
            yield place, _unknown(candidate.estimator, f"estimator for `{use_case.task}`", known)


def _key(use_case: UseCase) -> Iterator[Contradiction]:
    for name in use_case.key:
        if name.lower() in (*TAKEN_NAMES, "event_time"):
            place = ("sources", use_case.entity, "key")
            yield place, f"`{name}` is a column that predictions get besides the key; call the key column otherwise"


def _label(use_case: UseCase) -> Iterator[Contradiction]:
    """A label without the moment at which it became known would be known to all that happened before it."""
    label = use_case.label
    source = use_case.sources[label.source]
    times = tuple(name for name, column in source.columns.items() if column.type == "timestamp")
    known = times if source.is_reference else (*times, "event_time", "known_at")
    if label.known_at is not None and label.known_at not in known:
        yield ("label", "known_at"), _unknown(label.known_at, f"time of `{label.source}`", known)
    elif label.known_at is None and source.is_reference:
        yield (
            ("label", "source"),
            f"`{label.source}` has no `event_time`, so that its labels would have been known always; declare its "
            "`event_time`, or name the column with the time a label became known in `label.known_at`",
        )


def _features(use_case: UseCase) -> Iterator[Contradiction]:
    if problem := _not_a_file_below(use_case.folder, use_case.features):
        yield ("features",), problem


def _schedules(use_case: UseCase) -> Iterator[Contradiction]:
    for name, line in use_case.schedules:
        if line is not None and (problem := _cron_problem(line)):
            yield ("schedules", name), problem


def _source(place: Place, source: Source, root: Path) -> Iterator[Contradiction]:
    if isinstance(source.read, PythonRead):
        file = source.read.python.partition(":")[0]
        if problem := _not_a_file_below(root, file):
            yield (*place, "read", "python"), problem
    volume = source.volume
    if volume.max_rows is not None and volume.min_rows > volume.max_rows:
        yield (*place, "volume"), f"`min_rows` {volume.min_rows} is more than `max_rows` {volume.max_rows}"
    for name, column in source.columns.items():
        if problem := _column_name_problem(name, source):
            yield (*place, "columns", name), problem
        for limit, types in _LIMITS.items():
            if getattr(column, limit) is not None and column.type not in types:
                kinds = " or ".join(f"`{one}`" for one in types)
                problem = f"`{limit}` is checked on columns of type {kinds}, and `{name}` is of type `{column.type}`"
                yield (*place, "columns", name, limit), problem
        if column.min is not None and column.max is not None and column.min > column.max:
            yield (*place, "columns", name), f"`min` {column.min:g} of `{name}` is more than `max` {column.max:g}"
        if column.pattern is not None and (problem := _pattern_problem(column.pattern)):
            yield (*place, "columns", name, "pattern"), problem


def _source_name_problem(name: str, use_case: UseCase) -> str | None:
    if name.lower() in BESIDE_SOURCES:
        return f"`{name}` is a view or table that stands beside the sources; give yours another name"
    return _alike(name, use_case.sources)


def _column_name_problem(name: str, source: Source) -> str | None:
    own = {"event_time": source.event_time, "known_at": source.known_at, "delivery": None}
    if name.lower() in own and name != own[name.lower()]:
        return f"`{name}` is a column that every table gets besides those declared; give yours another name"
    return _alike(name, source.columns)


def _alike(name: str, names: Iterable[str]) -> str | None:
    first = next(one for one in names if one.lower() == name.lower())
    return None if name == first else f"`{name}` and `{first}` differ only in case, which SQL does not see; rename one"


def _unknown(name: str, what: str, known: tuple[str, ...]) -> str:
    listed = ", ".join(f"`{one}`" for one in known)
    hint = nearest(name, known) or (f"; it can be {listed}" if known else "; there is none")
    return f"`{name}` is no {what}{hint}"


def _not_a_file_below(folder: Path, name: str) -> str | None:
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        return f"`{name}` lies outside `{folder}`; move the file there"
    return None if path.is_file() else f"`{name}` does not exist below `{folder}`"


def _pattern_problem(pattern: str) -> str | None:
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        return f"`{pattern}` is no regular expression: {error}"
    if _can_be_matched(pattern):
        return None
    return (
        f"`{pattern}` cannot be matched in one pass over a text, as every row is: look-around, references to groups "
        "and very large repetitions are not known. Write it without them, or check it in the source"
    )


def _can_be_matched(pattern: str) -> bool:
    """Ask the library by which `data/contract` will match it; where that is not there, no row is matched by it."""
    try:
        import polars as pl
    except ImportError:
        return True
    try:
        pl.Series([""]).str.contains(whole(pattern))
    except pl.exceptions.ComputeError:
        return False
    return True


_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
_CRON = (("minute", 0, 59), ("hour", 0, 23), ("day of the month", 1, 31), ("month", 1, 12), ("day of the week", 0, 7))
_CRON_PART = re.compile(r"(?:\*|(\d{1,2})(?:-(\d{1,2}))?)(?:/(\d{1,2}))?")


def _cron_problem(line: str) -> str | None:
    fields = line.split()
    if len(fields) != len(_CRON):
        names = ", ".join(name for name, _, _ in _CRON)
        return f"`{line}` is no cron line: expected 5 fields ({names}), got {len(fields)}"
    for text, (name, low, high) in zip(fields, _CRON, strict=True):
        if not all(_is_cron_part(part, low, high) for part in _with_numbers(text, name).split(",")):
            return f"`{text}` in `{line}` is no {name} of a cron line: expected {low} to {high}, `*`, ranges or steps"
    return None


def _with_numbers(text: str, name: str) -> str:
    names = {"month": (_MONTHS, 1), "day of the week": (_DAYS, 0)}.get(name, ([], 0))
    for number, word in enumerate(names[0], start=names[1]):
        text = re.sub(rf"\b{word}\b", str(number), text, flags=re.IGNORECASE)
    return text


def _is_cron_part(part: str, low: int, high: int) -> bool:
    found = _CRON_PART.fullmatch(part)
    if not found:
        return False
    first, last, step = (int(one) if one else None for one in found.groups())
    first = low if first is None else first
    return low <= first <= (first if last is None else last) <= high and (step is None or 1 <= step <= high)
