"""Living through the first months of the use case of the tests."""

from flows.pipeline import pipeline
from perennial.periods import Period
from perennial.workspace import Workspace

MONTHS = ("2024-01", "2024-02", "2024-03")


def live(workspace: Workspace) -> None:
    """Run the pipeline for each month as of its end."""
    for month in map(Period.parse, MONTHS):
        pipeline(workspace.use_case.slug, period=month.label, as_of=month.end)
