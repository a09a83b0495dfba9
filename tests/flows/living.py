"""Living through the first months of the use case of the tests."""

from flows.ingestion import ingest
from flows.pipeline import pipeline
from flows.registration import register
from flows.training import train
from flows.validation import validate
from perennial.periods import Period
from perennial.workspace import Workspace

MONTHS = ("2024-01", "2024-02", "2024-03")


def live(workspace: Workspace) -> None:
    """Run the pipeline for each month as of its end."""
    for month in map(Period.parse, MONTHS):
        pipeline(workspace.use_case.slug, period=month.label, as_of=month.end)


def challenge(workspace: Workspace) -> None:
    """Train and judge one more model a month later and release it not, so that the months before are long past."""
    month = Period.parse("2024-04")
    for stage in (ingest, validate, train, register):
        stage(workspace.use_case.slug, period=month.label, as_of=month.end)
