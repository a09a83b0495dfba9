"""What follows from which event, as code: the automations of an environment, before a server knows them.

They are plain declarations; who applies them resolves names to ids. An automation only starts a run early: whether
a model is trained, the journal decides, so that an alert that came twice, late or wrongly trains nothing more.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import EventTrigger, Posture

from perennial.periods import Every, format_duration

RESOURCE = "prefect.resource.id"
NAME = "prefect.resource.name"
ROLE = "prefect.resource.role"


@dataclass(frozen=True)
class StartRun:
    """Start a run of a deployment."""

    deployment: str
    """As `retrain/prod`."""
    parameters: dict[str, Any]


@dataclass(frozen=True)
class Notify:
    """Tell people through a notification block."""

    block: str
    """Type and name of its document, as `custom-webhook/slack-prod`."""
    subject: str
    body: str


Action = StartRun | Notify | ChangeFlowRunState
Notice = tuple[str, str, EventTrigger, str]
"""What it is about, its description, what fires it, and what people are told."""


@dataclass(frozen=True)
class AutomationSpec:
    """One automation: a sentence with its environment as the name, what fires it, and what it does."""

    name: str
    description: str
    trigger: EventTrigger
    actions: tuple[Action, ...]


@dataclass(frozen=True)
class Pace:
    """How long automations wait; tests make it shorter."""

    quiet: timedelta = timedelta(minutes=1)
    """After one event about a use case, more of the same kind start no run: a storm costs one run per minute."""
    silence: timedelta = timedelta(minutes=15)
    """A run that sent no heartbeat for so long is stuck: five heartbeats, and more than a restart of the server."""
    restarts: int = 2
    """How often a crashed run is started again."""
    nagging: timedelta = timedelta(hours=1)
    """How often people are told the same."""


_SIGNS = ("heartbeat", "Paused", "Suspended", "Completed", "Failed", "Cancelled", "Crashed")
"""Events of a run that is alive, or whose silence has a reason."""
EXPECTED = {Every.DAY: timedelta(hours=36), Every.MONTH: timedelta(days=35), Every.YEAR: timedelta(days=380)}
"""Time after a delivery within which the next must come, by the length of the use case's periods."""


def automations(environment: str, notifications: tuple[str, ...] = (), pace: Pace = Pace()) -> list[AutomationSpec]:
    """Return all automations of an environment.

    Args:
        environment: As `prod`: the deployments' name, and the label on the events of its use cases.
        notifications: Blocks that people are told through; without one nobody is told.
        pace: How long they wait.
    """
    started = [*_retrainings(environment, pace), *_deliveries(environment, pace), *_runs(environment, pace)]
    return [*started, *(_notices(environment, notifications, pace) if notifications else ())]


def _retrainings(environment: str, pace: Pace) -> Iterator[AutomationSpec]:
    causes = {
        "drift": ("perennial.drift.detected", "An input or the score has drifted"),
        "degraded performance": ("perennial.performance.degraded", "The labels show that the model got worse"),
    }
    for cause, (event, seen) in causes.items():
        reason = f"{event}: {{{{ event.payload.summary }}}}"
        yield AutomationSpec(
            f"retrain on {cause} ({environment})",
            f"{seen}: ask the policy of the use case, and train a challenger if it says so and nobody does yet.",
            _of_use_cases(environment, event, within=pace.quiet),
            (StartRun(f"retrain/{environment}", {**_occasion(), "reason": reason}),),
        )


def _deliveries(environment: str, pace: Pace) -> Iterator[AutomationSpec]:
    yield AutomationSpec(
        f"run the pipeline on a delivery that was announced ({environment})",
        "Whoever delivers says that the data of a period is there: live through the period.",
        _of_use_cases(environment, "perennial.delivery.announced", within=pace.quiet),
        (StartRun(f"pipeline/{environment}", _occasion()),),
    )
    yield AutomationSpec(
        f"validate a received delivery ({environment})",
        "A run of `ingest` landed something new. The pipeline, which validates by itself, is left alone.",
        _of_use_cases(environment, "perennial.delivery.received", within=pace.quiet, alone=True),
        (StartRun(f"validate/{environment}", _occasion()),),
    )
    yield AutomationSpec(
        f"follow a version on trial ({environment})",
        "A shadow or canary began: follow it to its end, and show what it rests on.",
        _of_use_cases(environment, "perennial.rollout.started", within=pace.quiet),
        (StartRun(f"roll-out/{environment}", {"use_case": f"{{{{ event.resource['{NAME}'] }}}}"}),),
    )
    yield AutomationSpec(
        f"reconcile after a release ({environment})",
        "A model was released or withdrawn: let the registry follow, and score again what a withdrawn one wrote.",
        _of_use_cases(environment, "perennial.model.released", within=pace.quiet),
        (StartRun(f"reconcile/{environment}", {"use_case": f"{{{{ event.resource['{NAME}'] }}}}"}),),
    )


def _runs(environment: str, pace: Pace) -> Iterator[AutomationSpec]:
    silence = format_duration(pace.silence)
    ends = {f"prefect.flow-run.{one}" for one in _SIGNS}
    yield AutomationSpec(
        f"crash stuck runs ({environment})",
        f"A run sent heartbeats and sends none any more for {silence}: its process is gone, so its slot is freed.",
        _of_runs(
            environment,
            *ends,
            after={"prefect.flow-run.heartbeat"},
            posture=Posture.Proactive,
            within=pace.silence,
        ),
        (ChangeFlowRunState(state=StateType.CRASHED, name=None, message=f"No heartbeat for {silence}."),),
    )
    yield AutomationSpec(
        f"restart crashed runs ({environment})",
        f"A run crashed: run it again, at most {pace.restarts} times; what is done is found done.",
        _of_runs(
            environment,
            "prefect.flow-run.Crashed",
            labels={"prefect.run-count": [str(count) for count in range(1, pace.restarts + 1)]},
        ),
        (ChangeFlowRunState(state=StateType.SCHEDULED, name=None, message="It crashed and is run again."),),
    )


def _notices(environment: str, blocks: tuple[str, ...], pace: Pace) -> Iterator[AutomationSpec]:
    parts = (_of_failures, _of_workers, _of_models, _of_missing_deliveries)
    for about, description, trigger, told in (one for part in parts for one in part(environment, pace)):
        subject = f"{about} ({environment})"
        notes = tuple(Notify(block, subject, told) for block in blocks)
        yield AutomationSpec(f"notify: {subject}", description, trigger, notes)


def _of_failures(environment: str, pace: Pace) -> Iterator[Notice]:
    yield (
        "a run failed or crashed",
        "A run of a deployment ended without success. What is started again is told too.",
        _of_runs(environment, "prefect.flow-run.Failed", "prefect.flow-run.Crashed"),
        "{{ flow_run.name }} is {{ flow_run.state.name }}: {{ flow_run.state.message }}\n{{ flow_run|ui_url }}",
    )
    of_automations = {RESOURCE: "prefect.automation.*", NAME: f"* ({environment})"}
    failed = {"prefect.automation.action.failed"}
    yield (
        "an automation could not act",
        "An action failed, as with parameters that do not fit: nothing was started.",
        EventTrigger(match=of_automations, expect=failed, for_each={RESOURCE}, threshold=1, within=pace.nagging),
        "{{ event.resource.name }}: {{ event.payload.reason }}",
    )


def _of_workers(environment: str, pace: Pace) -> Iterator[Notice]:
    deployment = "related:deployment:prefect.resource.id"
    yield (
        "runs are late",
        "A run waits longer than it should for a worker or a slot.",
        _of_runs(environment, "prefect.flow-run.Late", each=deployment, within=pace.nagging),
        "{{ flow_run.name }} waits for a worker or a slot.\n{{ flow_run|ui_url }}",
    )
    pool = {RESOURCE: "prefect.work-pool.*", NAME: f"perennial-{environment}"}
    yield (
        "a worker is gone",
        "The work pool has no worker that answers.",
        EventTrigger(match=pool, expect={"prefect.work-pool.not-ready"}, threshold=1),
        "No worker of the pool {{ event.resource.name }} answers. Start one: "
        "prefect worker start --pool {{ event.resource.name }}",
    )


def _of_models(environment: str, pace: Pace) -> Iterator[Notice]:
    yield (
        "a model was released",
        "Another version serves.",
        _of_use_cases(environment, "perennial.model.released"),
        "{{ event.resource.name }}: version {{ event.payload.version }} serves. {{ event.payload.reason }}",
    )
    yield (
        "a release was withdrawn",
        "A person or a guard found that it does worse than it may.",
        _of_use_cases(environment, "perennial.release.withdrawn"),
        "{{ event.resource.name }}: version {{ event.payload.version }} was withdrawn, version {{ event.payload.by }} "
        "serves again. {{ event.payload.reason }}",
    )
    yield (
        "a version on trial was taken back",
        "Its shadow or canary did not show that it may serve.",
        _of_use_cases(environment, "perennial.rollout.ended"),
        "{{ event.resource.name }}: trial {{ event.payload.number }} ended {{ event.payload.answer }}. "
        "{{ event.payload.reason }}",
    )
    yield (
        "predictions were corrected",
        "What a withdrawn release wrote was scored again: whoever acted on it may want to know.",
        _of_use_cases(environment, "perennial.predictions.corrected"),
        "{{ event.resource.name }}: {{ event.payload.rows }} predictions of release {{ event.payload.withdrawn }} were "
        "scored again by version {{ event.payload.version }}.",
    )
    yield (
        "a promoted model waits for a person",
        "The gate passed it here, and somebody has to let it serve.",
        _of_use_cases(environment, "perennial.approval.requested"),
        "{{ event.resource.name }}: may version {{ event.payload.version }}, promoted from {{ event.payload.source }}, "
        "serve? perennial approve {{ event.payload.run }} --reason ..., or reject",
    )
    yield (
        "a retraining was given up",
        "It was tried as often as it may be, and somebody has to look.",
        _of_use_cases(environment, "perennial.retraining.abandoned"),
        "{{ event.resource.name }}: {{ event.payload.reason }}",
    )
    yield (
        "a delivery was refused",
        "It broke its contract beyond what is declared; nothing of it was written.",
        _of_use_cases(environment, "perennial.delivery.refused", within=pace.nagging),
        "{{ event.payload.reason }}",
    )


def _of_missing_deliveries(environment: str, pace: Pace) -> Iterator[Notice]:
    accepted = "perennial.delivery.accepted"
    for every, limit in EXPECTED.items():
        labels = {"perennial.every": every.value}
        trigger = _of_use_cases(
            environment, accepted, labels=labels, after={accepted}, posture=Posture.Proactive, within=limit
        )
        yield (
            f"no delivery for a {every.value}",
            f"Nothing was accepted for {format_duration(limit)} after the last delivery of a use case that lives by "
            f"the {every.value}.",
            trigger,
            f"{{{{ event.resource.name }}}} had no delivery for {format_duration(limit)}.",
        )


def _of_use_cases(
    environment: str, *expected: str, labels: dict[str, Any] | None = None, alone: bool = False, **more: Any
) -> EventTrigger:
    """Fire for each use case on its events; `alone` only on those of a deployment's own run, not of a subflow."""
    return EventTrigger(
        match={RESOURCE: "perennial.use-case.*", "perennial.environment": environment, **(labels or {})},
        match_related=_of_deployment(environment) if alone else {},
        expect=set(expected),
        for_each={RESOURCE},
        threshold=1,
        **more,
    )


def _of_runs(
    environment: str, *expected: str, labels: dict[str, Any] | None = None, each: str = RESOURCE, **more: Any
) -> EventTrigger:
    """Fire for each run of a deployment of the environment; subflows have no deployment and are left alone."""
    return EventTrigger(
        match={RESOURCE: "prefect.flow-run.*", **(labels or {})},
        match_related=_of_deployment(environment),
        expect=set(expected),
        for_each={each},
        threshold=1,
        **more,
    )


def _of_deployment(environment: str) -> dict[str, Any]:
    return {ROLE: "deployment", NAME: environment}


def _occasion() -> dict[str, Any]:
    """The parameters that say what an event is about; an outsider's event may lack period and moment.

    The server puts `| tojson` at the end of a template that is one expression, so that it keeps its type: what has an
    operator needs parentheses.
    """
    return {
        "use_case": f"{{{{ event.resource['{NAME}'] }}}}",
        "period": "{{ (event.payload.period or none) }}",
        "as_of": "{{ (event.payload.as_of or event.occurred) }}",
    }
