"""What a person reads in the Prefect UI: Markdown, tables, links and progress made from records.

The builders are pure and return text or rows; the functions below them hand these to Prefect. Keys are
`<use case>-<kind>`, so that the versions of one key are its history.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

from perennial.errors import PerennialError
from perennial.records import (
    Accepted,
    Answer,
    Entry,
    Interval,
    Judged,
    Level,
    Measured,
    Predicted,
    Promoted,
    Received,
    Record,
    Registered,
    Released,
    Trained,
    Verdict,
)
from perennial.settings import Settings
from perennial.workspace import Workspace
from tasks.links import address, linked, run_link, version_in_mlflow, version_link

_MARKS = {Answer.PASS: "✅", Answer.FAIL: "❌", Answer.INCONCLUSIVE: "❔"}
_LEVELS = {Level.INFO: "ℹ️", Level.WARNING: "⚠️", Level.ALERT: "🚨"}  # noqa: RUF001
Item = TypeVar("Item")


def receipt_rows(received: Iterable[Received]) -> list[dict[str, Any]]:
    """One row per source: what arrived."""
    return [
        {"source": one.source, "period": one.period, "revision": one.revision, "rows": one.rows, "file": one.path}
        for one in received
    ]


def delivery_report(accepted: Sequence[Accepted]) -> str:
    """Rows in, accepted and quarantined per source, then every reason with its count."""
    counts = markdown_table(
        ("source", "period", "revision", "rows", "accepted", "quarantined"),
        [
            (one.source, one.period, one.revision, _number(one.rows), _number(one.accepted), _number(one.quarantined))
            for one in accepted
        ],
    )
    reasons = [(one.source, reason, _number(rows)) for one in accepted for reason, rows in by_count(one.reasons)]
    if not reasons:
        return f"## Deliveries\n\n{counts}\n\nEvery row keeps its contract."
    return f"## Deliveries\n\n{counts}\n\n### Why rows are in quarantine\n\n" + markdown_table(
        ("source", "reason", "rows"), reasons
    )


def candidate_rows(trained: Trained) -> list[dict[str, Any]]:
    """One row per candidate with its metrics on the holdout; the kept one is marked."""
    return [
        {
            "candidate": fit.name,
            "kept": "yes" if fit.name == trained.candidate else "",
            **{name: show(found) for name, found in fit.metrics.items()},
            "trials": fit.trials,
            "model": fit.model[:12],
        }
        for fit in trained.candidates
    ]


def training_report(trained: Trained) -> str:
    """What a training saw, and what would reproduce it."""
    windows = markdown_table(
        ("window", "from", "until", "rows"),
        [
            (name, f"{window.start:%Y-%m-%d}", f"{window.end:%Y-%m-%d}", _number(rows))
            for name, window, rows in (
                ("fit", trained.fit, trained.fit_rows),
                ("validation", trained.validation, trained.validation_rows),
                ("holdout", trained.holdout, trained.holdout_rows),
            )
        ],
    )
    origin = markdown_table(
        ("what", "which"),
        [
            ("model", f"`{trained.model[:16]}`"),
            ("features", f"version {trained.features_version}, {len(trained.snapshots)} snapshots"),
            ("labels", f"`{trained.labels[:16]}`"),
            ("query", f"`{trained.query[:16]}`"),
            ("declaration", f"`{trained.spec[:16]}`"),
            ("code", f"`{trained.code[:16]}`"),
            ("lock", f"`{trained.lock[:16]}`"),
            ("seed", trained.seed),
        ],
    )
    audit = f"{_MARKS[trained.audit.answer]} Leakage audit: {'; '.join(trained.audit.reasons) or trained.audit.answer}"
    return f"## Kept `{trained.candidate}`\n\n{windows}\n\n{audit}\n\n### Made from\n\n{origin}"


def gate_report(judged: Judged) -> str:
    """The verdict first, then why, then every number."""
    opponent = f"version {judged.against_version}" if judged.against_version else "the baseline"
    answer = judged.verdict.answer
    numbers = [(name, _value(value)) for name, value in judged.verdict.numbers.items()]
    parts = [
        f"## {_MARKS[answer]} {answer}: version {judged.version} against {opponent}",
        bullets(judged.verdict.reasons),
    ]
    if numbers:
        parts.append(markdown_table(("number", "value"), numbers))
    return "\n\n".join(parts)


def release_report(released: Released) -> str:
    """Which version serves now, instead of which, and why."""
    before = f"in place of version {released.replaces}" if released.replaces else "as the first"
    return f"## Release {released.number}: version {released.version} serves, {before}\n\n{released.reason}"


def verdict_report(title: str, verdict: Verdict) -> str:
    """A verdict under a title: the answer first, then why, then every number."""
    numbers = markdown_table(("number", "value"), [(name, _value(one)) for name, one in verdict.numbers.items()])
    return f"## {_MARKS[verdict.answer]} {title}: {verdict.answer}\n\n{bullets(verdict.reasons)}\n\n{numbers}"


def promotion_report(promoted: Promoted, judged: Judged) -> str:
    """The environments that a model went through, with the verdict that each gave it."""
    here = ("here", judged.version, judged.verdict, promoted.trained.holdout)
    stations = [(one.environment, one.version, one.judged.verdict, one.trained.holdout) for one in promoted.stations]
    rows = [
        (name, version, f"{_MARKS[verdict.answer]} {verdict.answer}", f"{window.start:%F} to {window.end:%F}", gain)
        for name, version, verdict, window in [*stations, here]
        for gain in [_value(verdict.numbers.get("gain"))]
    ]
    table = markdown_table(("environment", "version", "verdict", "judged on", "gain"), rows)
    return f"## Model `{promoted.model[:16]}`, promoted from {promoted.source.environment}\n\n{table}"


def approval_request(promoted: Promoted, judged: Judged, settings: Settings, use_case: str) -> str:
    """The question to a person: what is to serve, why the gate passed it, and where to look before answering."""
    card = linked("card, metrics and plots", version_link(settings, use_case, judged.version))
    return "\n\n".join(
        [
            f"# May version {judged.version} of {use_case} serve in {settings.environment}?",
            f"It was promoted from {promoted.source.environment}, version {promoted.source.version}. "
            f"Look at its {card} first.",
            promotion_report(promoted, judged),
            gate_report(judged),
        ]
    )


def journal_report(entries: Sequence[Entry], settings: Settings, use_case: str) -> str:
    """The numbers of some journal entries, with links to what they are about."""
    rows = [(entry.seq, entry.record.kind, _seen_at(entry.record, settings, use_case)) for entry in entries]
    table = markdown_table(("entry", "what", "where to look"), rows)
    about = f"## Journal of {use_case} in {settings.environment}"
    return f"{about}\n\n{table}\n\n`perennial history {use_case}` tells them in words."


def _seen_at(record: Record, settings: Settings, use_case: str) -> str:
    match record:
        case Registered(version=version, run=run):
            return (
                f"{version_in_mlflow(settings, use_case, version)}, {linked(f'run `{run}`', run_link(settings, run))}"
            )
        case Judged(version=version) | Released(version=version) | Predicted(version=version):
            return version_in_mlflow(settings, use_case, version)
        case Measured(report=str() as report):
            place = f"{settings.storage_root}/{report}"
            return f"[Evidently report]({address(place)}), `{place}`"
        case Trained(model=model) | Promoted(model=model):
            return f"model `{model[:16]}`"
        case Received(path=path):
            return f"`{settings.storage_root}/{path}`"
        case _:
            return ""


def measurement_report(measured: Measured) -> str:
    """Findings first, then performance now and at judgement."""
    head = f"## {measured.period} under release {measured.release} (version {measured.version})"
    known = f"{_number(measured.labels)} of {_number(measured.rows)} rows have a label by now."
    findings = [
        f"{_LEVELS[one.level]} **{one.category}**: {one.summary} {one.resolution}".strip() for one in measured.findings
    ]
    performance = markdown_table(
        ("metric", "now", "at judgement"),
        [(name, show(found), show(measured.reference.get(name))) for name, found in measured.performance.items()],
    )
    return f"{head}\n\n{known}\n\n{bullets(findings) or 'No findings.'}\n\n{performance}"


def drift_rows(measured: Measured) -> list[dict[str, Any]]:
    """Population stability index per feature and of the score, the largest first, undefined ones on top."""
    ordered = sorted(measured.drift.items(), key=lambda one: (one[1] is not None, -(one[1] or 0.0)))
    return [{"feature": name, "psi": _value(value)} for name, value in ordered]


def failure_report(error: PerennialError) -> str:
    """The text of the error, which says what happened and what to do, and whether trying again helps."""
    return f"## ❌ {type(error).__name__}\n\n{error}\n\n{error.advice}"


def show(interval: Interval | None) -> str:
    """Write a value with its interval, `0.731 [0.722, 0.740]`."""
    if interval is None or interval.value is None:
        return "unknown"
    bounds = "" if interval.low is None else f" [{_value(interval.low)}, {_value(interval.high)}]"
    return _value(interval.value) + bounds


def by_count(reasons: Mapping[str, int]) -> list[tuple[str, int]]:
    """Return reasons with their rows, the most frequent first."""
    return sorted(reasons.items(), key=lambda one: (-one[1], one[0]))


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Write rows as a Markdown table; bars inside of cells are escaped."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def bullets(sentences: Iterable[str]) -> str:
    """Write sentences as a Markdown list."""
    return "\n".join(f"- {one}" for one in sentences)


def publish_markdown(use_case: str, kind: str, markdown: str, description: str) -> None:
    """Attach Markdown to the present run."""
    create_markdown_artifact(markdown, key=f"{use_case}-{kind}", description=description)


def publish_table(use_case: str, kind: str, rows: list[dict[str, Any]], description: str) -> None:
    """Attach a table to the present run."""
    create_table_artifact(rows, key=f"{use_case}-{kind}", description=description)


def publish_link(use_case: str, kind: str, link: str, text: str, description: str) -> None:
    """Attach a link to the present run."""
    create_link_artifact(link, link_text=text, key=f"{use_case}-{kind}", description=description)


def publish_version(settings: Settings, use_case: str, version: int) -> None:
    """Attach the way to a version's card, metrics and plots to the present run."""
    about, link = f"Model card, metrics and plots of version {version}", version_link(settings, use_case, version)
    if link:
        publish_link(use_case, "model", link, f"{use_case}, version {version}", about)
    else:
        text = f"Version {version} of `{use_case}` is registered; `perennial up` starts the server that shows it."
        publish_markdown(use_case, "model", text, about)


def publish_report(use_case: str, place: str, about: str) -> None:
    """Attach a report to the present run, with its address as text: browsers open no file from another page."""
    publish_link(use_case, "report", address(place), place, about)


def publish_journal(workspace: Workspace, as_of: datetime) -> None:
    """Attach the numbers of the journal entries of a moment to the present run, whoever wrote them first."""
    entries = [one for one in workspace.journal.entries() if one.at == as_of]
    if entries:
        slug = workspace.use_case.slug
        report = journal_report(entries, workspace.settings, slug)
        publish_markdown(slug, "journal", report, f"Journal entries {entries[0].seq} to {entries[-1].seq}")


def following(use_case: str, kind: str, items: Sequence[Item], description: str) -> Iterator[Item]:
    """Go through items while a progress bar of the present run shows how many are done."""
    bar = create_progress_artifact(0.0, key=f"{use_case}-{kind}", description=description)
    for done, item in enumerate(items, start=1):
        yield item
        update_progress_artifact(bar, progress=100.0 * done / len(items))  # type: ignore[arg-type]


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")


def _number(value: int) -> str:
    return f"{value:,}"


def _value(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4g}"
