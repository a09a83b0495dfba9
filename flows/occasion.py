"""What a run is about: one use case, one period, one moment; the only place that settles the latter two."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from prefect.runtime import flow_run

from blocks.environment import current_settings
from blocks.secrets import keeping_secrets
from flows.moments import until_now
from perennial.errors import PerennialError
from perennial.periods import Period
from perennial.state import State, fold
from perennial.watch.policy import answer_to
from perennial.workspace import Workspace
from tasks import artifacts
from tasks.tagging import tag_run


@dataclass(frozen=True)
class Occasion:
    """The first thing that a flow makes of its parameters."""

    workspace: Workspace
    period: Period
    as_of: datetime

    @property
    def slug(self) -> str:
        return self.workspace.use_case.slug

    @property
    def state(self) -> State:
        """What the journal amounts to at this moment, so that a repeated run sees what the first one saw."""
        return fold(self.workspace.journal.entries(), self.as_of)

    @property
    def parameters(self) -> dict[str, Any]:
        """The same occasion as parameters of another flow."""
        return {"use_case": self.slug, "period": self.period.label, "as_of": self.as_of}

    @property
    def is_decided(self) -> bool:
        """True when the question of retraining was answered before, so that this run only repeats another."""
        return answer_to(self.workspace.journal.entries(), self.period, self.as_of) is not None


@contextmanager
def occasion(use_case: str, period: str | None = None, as_of: datetime | None = None) -> Iterator[Occasion]:
    """Settle what a run is about, tag the run with it, and attach the text of an error to the run.

    The period is by default the newest that has ended. The moment is by default the one for which the run was
    scheduled, so that a late or repeated run decides as the first would have; UTC where it names no zone. At its end,
    a bad one too, the run shows the numbers of its journal entries, with links to the model's version and the report.

    Raises:
        NotYet: The moment is in the future.
    """
    workspace = Workspace.open(use_case, current_settings())
    moment = until_now(as_of or flow_run.scheduled_start_time)
    chosen = workspace.period(period, moment)
    tag_run(use_case, workspace.settings.environment)
    try:
        with keeping_secrets():
            yield Occasion(workspace, chosen, moment)
    except Exception as error:
        with suppress(Exception):  # what ended the run is what it fails with, not what could not be shown
            artifacts.publish_journal(workspace, moment)
        if isinstance(error, PerennialError):
            artifacts.publish_markdown(use_case, "error", artifacts.failure_report(error), "Why the run failed")
        raise
    artifacts.publish_journal(workspace, moment)
