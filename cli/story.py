"""A month of a model's life in words, told from the journal alone; it prints nothing itself."""

from collections.abc import Iterable, Iterator
from functools import singledispatch

from rich.markup import escape

from perennial.records import (
    Accepted,
    Answer,
    Answered,
    AnswersAudited,
    AnswersCollected,
    Entry,
    Finding,
    HostingAdvanced,
    HostingEnded,
    HostingStarted,
    Interval,
    Judged,
    Level,
    Measured,
    Predicted,
    PredictionsCorrected,
    ProbationEnded,
    Promoted,
    PromotionRefused,
    Record,
    Refused,
    Released,
    ReleaseServed,
    RetrainingDecided,
    RolloutAdvanced,
    RolloutEnded,
    RolloutStarted,
    Trained,
    TrainingRefused,
    Verdict,
)

_TONES = {Answer.PASS: "green", Answer.FAIL: "red", Answer.INCONCLUSIVE: "yellow"}


def tell(entries: Iterable[Entry], primary: str) -> list[tuple[str, str]]:
    """Say what some entries of the journal mean.

    Args:
        entries: Of one moment, in journal order.
        primary: Name of the metric that decides.

    Returns:
        Pairs of a stage and a sentence in rich markup; entries that only prepare others are left out.
    """
    records = [entry.record for entry in entries]
    return [*_deliveries(records), *(line for record in records for line in _say(record, primary))]


def _deliveries(records: list[Record]) -> Iterator[tuple[str, str]]:
    accepted = [record for record in records if isinstance(record, Accepted)]
    if accepted:
        quarantined = sum(one.quarantined for one in accepted)
        rows = ", ".join(f"{one.rows:,} {one.source}" for one in accepted)
        aside = f", [yellow]{quarantined:,} quarantined[/]" if quarantined else ""
        yield "validate", f"{rows}{aside}"


@singledispatch
def _say(record: object, primary: str) -> list[tuple[str, str]]:
    return []


@_say.register
def _(record: Refused, primary: str) -> list[tuple[str, str]]:
    return [("validate", f"[red]refused[/] {record.source} {record.period}: {record.summary}")]


@_say.register
def _(record: Predicted, primary: str) -> list[tuple[str, str]]:
    return [("predict", f"{record.rows:,} rows scored by version {record.version}")]


@_say.register
def _(record: Measured, primary: str) -> list[tuple[str, str]]:
    now, then = record.performance.get(primary), record.reference.get(primary)
    labels = f"{now.rows if now else 0:,} mature labels"
    known = f"{record.period}: {primary} {show(now)} on {labels}; on its holdout {show(then)}"
    loud = [one for one in record.findings if one.level is not Level.INFO]
    categories = dict.fromkeys(one.category for one in loud)
    return [("monitor", known), *(("", _findings([one for one in loud if one.category == c])) for c in categories)]


@_say.register
def _(record: RetrainingDecided, primary: str) -> list[tuple[str, str]]:
    tone = "cyan" if record.action == "retrain" else "dim"
    return [("decide", f"[{tone}]{record.action}[/]: {escape(record.reasons[0])}")]


@_say.register
def _(record: Trained, primary: str) -> list[tuple[str, str]]:
    scores = ", ".join(f"{fit.name} {show_value(fit.validation)}" for fit in record.candidates)
    return [("train", f"kept {record.candidate} of {len(record.candidates)}; {primary} on validation: {scores}")]


@_say.register
def _(record: TrainingRefused, primary: str) -> list[tuple[str, str]]:
    return [("train", f"[red]refused[/]: {record.reason}")]


@_say.register
def _(record: Judged, primary: str) -> list[tuple[str, str]]:
    against = f"version {record.against_version}" if record.against_version else "the baseline"
    return [("register", f"version {record.version} against {against}: {_verdict(record.verdict)}")]


@_say.register
def _(record: Released, primary: str) -> list[tuple[str, str]]:
    before = f", replacing version {record.replaces}" if record.replaces else ""
    if record.withdraws is not None:
        why = f": version {record.replaces} withdrawn, {escape(record.reason)}"
        return [("rollback", f"[bold yellow]version {record.version} serves again[/]{why}")]
    return [("deploy", f"[bold green]version {record.version} released[/]{before}")]


@_say.register
def _(record: RolloutStarted, primary: str) -> list[tuple[str, str]]:
    what = "is shown copies of" if record.rollout == "shadow" else "answers"
    told = f"version {record.version} {what} {record.steps[0]:.0%} of the requests, beside {record.against_version}"
    return [(record.rollout, f"[cyan]{told}[/]")]


@_say.register
def _(record: RolloutAdvanced, primary: str) -> list[tuple[str, str]]:
    return [("rollout", f"rollout {record.number} goes to step {record.step + 1}: {_verdict(record.verdict)}")]


@_say.register
def _(record: RolloutEnded, primary: str) -> list[tuple[str, str]]:
    return [("rollout", f"[bold yellow]rollout {record.number} taken back[/]: {_verdict(record.verdict)}")]


@_say.register
def _(record: HostingStarted, primary: str) -> list[tuple[str, str]]:
    how = f"gets {record.steps[0]:.0%} of the requests" if record.steps else "takes over"
    return [("host", f"[cyan]{escape(record.image)} {how}[/]")]


@_say.register
def _(record: HostingAdvanced, primary: str) -> list[tuple[str, str]]:
    return [("host", f"hosting {record.number} goes to step {record.step + 1}: {_verdict(record.verdict)}")]


@_say.register
def _(record: HostingEnded, primary: str) -> list[tuple[str, str]]:
    if record.verdict.answer is Answer.PASS:
        return [("host", f"hosting {record.number} runs everywhere: {_verdict(record.verdict)}")]
    return [("host", f"[bold yellow]hosting {record.number} taken back[/]: {_verdict(record.verdict)}")]


@_say.register
def _(record: ReleaseServed, primary: str) -> list[tuple[str, str]]:
    replicas = f"{len(record.replicas)} replica{'s' * (len(record.replicas) != 1)}"
    return [("serve", f"release {record.release} answers in good health: {record.answers:,} answers by {replicas}")]


@_say.register
def _(record: ProbationEnded, primary: str) -> list[tuple[str, str]]:
    return [("probation", f"release {record.release}: {_verdict(record.verdict)}")]


@_say.register
def _(record: AnswersCollected, primary: str) -> list[tuple[str, str]]:
    if not record.lost:
        return []
    lost = sum(record.lost.values())
    return [
        ("serve", f"[yellow]{lost:,} answers lost[/] with {len(record.lost)} replicas that ended without a farewell")
    ]


@_say.register
def _(record: AnswersAudited, primary: str) -> list[tuple[str, str]]:
    return [("audit", f"{record.rows:,} answers computed again offline: {_verdict(record.verdict)}")]


@_say.register
def _(record: PredictionsCorrected, primary: str) -> list[tuple[str, str]]:
    told = f"{record.rows:,} predictions of {record.whose} scored again by version {record.version}"
    return [("correct", told)]


@_say.register
def _(record: Promoted, primary: str) -> list[tuple[str, str]]:
    source = record.source
    return [("promote", f"version {source.version} of {source.environment} received, with its evidence")]


@_say.register
def _(record: PromotionRefused, primary: str) -> list[tuple[str, str]]:
    return [("promote", f"[red]refused[/]: {escape(record.reason)}")]


@_say.register
def _(record: Answered, primary: str) -> list[tuple[str, str]]:
    said = "[green]approved[/]" if record.approved else "[red]rejected[/]"
    return [("approve", f"version {record.version} {said} by {escape(record.who)}: {escape(record.reason)}")]


def show(interval: Interval | None) -> str:
    """Write a value with its interval, `0.731 [0.722, 0.740]`."""
    if interval is None or interval.value is None:
        return "unknown"
    bounds = "" if interval.low is None else f" [{show_value(interval.low)}, {show_value(interval.high)}]"
    return show_value(interval.value) + bounds.replace("[", "\\[")


def show_value(value: float | None) -> str:
    """Write a number with three digits after the point, or `unknown`."""
    return "unknown" if value is None else f"{value:.3f}"


def _findings(alike: list[Finding]) -> str:
    tone = "red" if any(one.level is Level.ALERT for one in alike) else "yellow"
    told = alike[0].summary if len(alike) == 1 else ", ".join(f"`{one.subject}`" for one in alike)
    return f"[{tone}]{alike[0].category}[/]: {escape(told)}"


def _verdict(verdict: Verdict) -> str:
    return f"[{_TONES[verdict.answer]}]{verdict.answer}[/], {escape(' '.join(verdict.reasons[:2]))}"
