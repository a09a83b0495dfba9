"""What follows from which event, as code: the automations of an environment, before a server knows them.

They are plain declarations; who applies them resolves names to ids. An automation only starts a run early: whether
a model is trained, the journal decides, so that an alert that came twice, late or wrongly trains nothing more.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import EventTrigger, Posture

from deployments.notices import notices
from deployments.triggers import NAME, PERIOD, USUAL, Pace, of_runs, of_use_cases
from perennial.periods import format_duration


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
    """Type and name of its document, as `slack-webhook/slack-prod`."""
    subject: str
    body: str


Action = StartRun | Notify | ChangeFlowRunState


@dataclass(frozen=True)
class AutomationSpec:
    """One automation: a sentence with its environment as the name, what fires it, and what it does."""

    name: str
    description: str
    trigger: EventTrigger
    actions: tuple[Action, ...]


_WAITS = ("Paused", "Suspended", "AwaitingRetry", "Scheduled", "Late", "Resuming", "Cancelling")
_ENDS = ("Completed", "Suppressed", "Failed", "TimedOut", "Cancelled", "Crashed")
_SIGNS = ("heartbeat", *_WAITS, *_ENDS)
"""Events of a run that is alive, or whose silence has a reason: `perennial down` hands runs back to wait for `up`."""


def automations(environment: str, notifications: tuple[str, ...] = (), pace: Pace = USUAL) -> list[AutomationSpec]:
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
            of_use_cases(environment, event, within=pace.quiet),
            (StartRun(f"retrain/{environment}", {**_occasion(), "reason": reason}),),
        )


def _deliveries(environment: str, pace: Pace) -> Iterator[AutomationSpec]:
    yield AutomationSpec(
        f"run the pipeline on a delivery that was announced ({environment})",
        "Whoever delivers says that the data of a period is there: live through the period.",
        of_use_cases(environment, "perennial.delivery.announced", within=pace.quiet, each=(PERIOD,)),
        (StartRun(f"pipeline/{environment}", _occasion()),),
    )
    yield AutomationSpec(
        f"validate a received delivery ({environment})",
        "A run of `ingest` landed something new. The pipeline, which validates by itself, is left alone.",
        of_use_cases(environment, "perennial.delivery.received", within=pace.quiet, alone=True, each=(PERIOD,)),
        (StartRun(f"validate/{environment}", _occasion()),),
    )
    yield AutomationSpec(
        f"follow a version on trial ({environment})",
        "A shadow or canary began: follow it to its end, and show what it rests on.",
        of_use_cases(environment, "perennial.rollout.started", within=pace.quiet),
        (StartRun(f"roll-out/{environment}", {"use_case": f"{{{{ event.resource['{NAME}'] }}}}"}),),
    )
    yield AutomationSpec(
        f"reconcile after a release ({environment})",
        "A model was released or withdrawn: let the registry follow, and score again what a withdrawn one wrote.",
        of_use_cases(environment, "perennial.model.released", within=pace.quiet),
        (StartRun(f"reconcile/{environment}", {"use_case": f"{{{{ event.resource['{NAME}'] }}}}"}),),
    )


def _runs(environment: str, pace: Pace) -> Iterator[AutomationSpec]:
    silence = format_duration(pace.silence)
    ends = {f"prefect.flow-run.{one}" for one in _SIGNS}
    yield AutomationSpec(
        f"crash stuck runs ({environment})",
        f"A run sent heartbeats and sends none any more for {silence}: its process is gone, so its slot is freed.",
        of_runs(
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
        of_runs(
            environment,
            "prefect.flow-run.Crashed",
            labels={"prefect.run-count": [str(count) for count in range(1, pace.restarts + 1)]},
        ),
        (ChangeFlowRunState(state=StateType.SCHEDULED, name=None, message="It crashed and is run again."),),
    )


def _notices(environment: str, blocks: tuple[str, ...], pace: Pace) -> Iterator[AutomationSpec]:
    for about, description, trigger, told in notices(environment, pace):
        subject = f"{about} ({environment})"
        notes = tuple(Notify(block, subject, f"*{subject}*\n{told}") for block in blocks)
        yield AutomationSpec(f"notify: {subject}", description, trigger, notes)


def _occasion() -> dict[str, Any]:
    """The parameters that say what an event is about; an outsider's event may lack period and moment.

    The server puts `| tojson` at the end of a template that is one expression, so that it keeps its type: what has an
    operator needs parentheses, and a moment has to be made text, which JSON has no moments.
    """
    return {
        "use_case": f"{{{{ event.resource['{NAME}'] }}}}",
        "period": "{{ (event.payload.period or none) }}",
        "as_of": "{{ (event.payload.as_of or event.occurred | string) }}",
    }
