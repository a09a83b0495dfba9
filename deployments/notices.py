"""What people are told of, and in which words; through which blocks, `automations` says."""

from collections.abc import Iterator
from datetime import timedelta

from prefect.events.schemas.automations import EventTrigger, Posture

from deployments.triggers import NAME, PERIOD, RESOURCE, SOURCE, Pace, of_runs, of_use_cases
from perennial.periods import Every, format_duration

Notice = tuple[str, str, EventTrigger, str]
"""What it is about, its description, what fires it, and what people are told."""
EXPECTED = {Every.DAY: timedelta(hours=36), Every.MONTH: timedelta(days=35), Every.YEAR: timedelta(days=380)}
"""Time after a delivery of a source within which its next must come, by the length of the use case's periods."""


def notices(environment: str, pace: Pace) -> Iterator[Notice]:
    """Yield all that people are told of in an environment."""
    for part in (_of_failures, _of_workers, _of_models, _of_releases, _of_answers, _of_missing_deliveries):
        yield from part(environment, pace)


def _of_failures(environment: str, pace: Pace) -> Iterator[Notice]:
    yield (
        "a run failed or crashed",
        "A run of a deployment ended without success. What is started again is told too.",
        of_runs(environment, "prefect.flow-run.Failed", "prefect.flow-run.Crashed"),
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
        of_runs(environment, "prefect.flow-run.Late", each=deployment, within=pace.nagging),
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
        of_use_cases(environment, "perennial.model.released"),
        "{{ event.resource.name }}: version {{ event.payload.version }} serves. {{ event.payload.reason }}",
    )
    yield (
        "a promoted model waits for a person",
        "The gate passed it here, and somebody has to let it serve.",
        of_use_cases(environment, "perennial.approval.requested"),
        "{{ event.resource.name }}: may version {{ event.payload.version }}, promoted from {{ event.payload.source }}, "
        "serve? perennial approve {{ event.payload.run }} --reason ..., or reject",
    )
    yield (
        "a retraining was given up",
        "It was tried as often as it may be, and somebody has to look.",
        of_use_cases(environment, "perennial.retraining.abandoned"),
        "{{ event.resource.name }}: {{ event.payload.reason }}",
    )
    yield (
        "a delivery was refused",
        "It broke its contract beyond what is declared; nothing of it was written.",
        of_use_cases(environment, "perennial.delivery.refused", within=pace.nagging, each=(SOURCE, PERIOD)),
        "{{ event.payload.reason }}",
    )


def _of_releases(environment: str, pace: Pace) -> Iterator[Notice]:
    yield (
        "a release was withdrawn",
        "A person or a guard found that it does worse than it may.",
        of_use_cases(environment, "perennial.release.withdrawn"),
        "{{ event.resource.name }}: version {{ event.payload.version }} was withdrawn, version {{ event.payload.by }} "
        "serves again. {{ event.payload.reason }}",
    )
    yield (
        "a version on trial was taken back",
        "Its shadow or canary did not show that it may serve.",
        of_use_cases(environment, "perennial.rollout.ended"),
        "{{ event.resource.name }}: trial {{ event.payload.number }} ended {{ event.payload.answer }}. "
        "{{ event.payload.reason }}",
    )
    yield (
        "predictions were corrected",
        "What a withdrawn release wrote was scored again: whoever acted on it may want to know.",
        of_use_cases(environment, "perennial.predictions.corrected"),
        "{{ event.resource.name }}: {{ event.payload.rows }} predictions of release {{ event.payload.withdrawn }} were "
        "scored again by version {{ event.payload.version }}.",
    )


def _of_answers(environment: str, pace: Pace) -> Iterator[Notice]:
    yield (
        "online and offline features differ",
        "The audit computed logged requests again, and the service scored something else than training would.",
        of_use_cases(environment, "perennial.audit.failed", within=pace.nagging),
        "{{ event.resource.name }}: {{ event.payload.summary }} {{ event.payload.resolution }}",
    )
    yield (
        "answers were lost",
        "A replica died with answers that it had given and not yet logged.",
        of_use_cases(environment, "perennial.answers.lost"),
        "{{ event.resource.name }}: {{ event.payload.summary }} {{ event.payload.detail }}",
    )


def _of_missing_deliveries(environment: str, pace: Pace) -> Iterator[Notice]:
    accepted = "perennial.delivery.accepted"
    for every, limit in EXPECTED.items():
        labels = {"perennial.every": every.value}
        trigger = of_use_cases(
            environment,
            accepted,
            labels=labels,
            after={accepted},
            posture=Posture.Proactive,
            within=limit,
            each=(SOURCE,),
        )
        yield (
            f"no delivery for a {every.value}",
            f"Nothing of a source was accepted for {format_duration(limit)} after its last delivery, in a use case "
            f"that lives by the {every.value}.",
            trigger,
            f"{{{{ event.resource.name }}}} had no delivery of {{{{ event.resource['{SOURCE}'] }}}} for "
            f"{format_duration(limit)}.",
        )
