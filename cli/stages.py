"""Running one flow in this process, with its progress, and telling what it added to the journal."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from importlib import import_module
from typing import Any

from rich.console import RenderableType
from rich.status import Status
from rich.table import Table
from rich.text import Text

from blocks.local import local_run, local_settings
from cli.output import errors, show
from cli.story import tell
from perennial.periods import Period
from perennial.records import Entry
from perennial.watch.signs_of_life import why_unfinished
from perennial.workspace import Workspace

MODULES = {
    "ingest": "flows.ingestion",
    "validate": "flows.validation",
    "train": "flows.training",
    "register": "flows.registration",
    "deploy": "flows.deployment",
    "predict": "flows.prediction",
    "monitor": "flows.monitoring",
    "pipeline": "flows.pipeline",
    "promote": "flows.promotion",
    "rollback": "flows.rollback",
    "roll_out": "flows.rollout",
}
"""Where each flow is."""


def run_stage(
    flow: str, use_case: str, period: str | None, as_of: datetime | None, as_json: bool, verbose: bool
) -> None:
    """Run a flow for one use case, and show the records that it returned or wrote."""
    if period:
        Period.parse(period)
    run_flow(flow, use_case, {"period": period, "as_of": as_of}, as_json, verbose)


def run_flow(flow: str, use_case: str, parameters: dict[str, Any], as_json: bool, verbose: bool) -> None:
    """Run a flow with any parameters for one use case, and show the records that it returned or wrote."""
    settings = local_settings()
    workspace = Workspace.open(use_case, settings)
    before = len(workspace.journal.entries())
    module = partial(import_module, MODULES[flow])
    with _progress(f"{flow} {use_case}: starting ..."), local_run(settings, verbose, meanwhile=module):
        result = getattr(module(), flow)(use_case, **parameters)
    added = workspace.journal.entries()[before:]
    show({"result": result, "added": list(added)}, lambda: _story(added, workspace), as_json)
    unfinished = why_unfinished(workspace) if flow == "pipeline" else None
    if unfinished:
        errors.print(Text(unfinished, style="yellow"), soft_wrap=True)


def _story(added: tuple[Entry, ...], workspace: Workspace) -> RenderableType:
    if not added:
        return "[dim]All of this was there already; nothing was done again.[/]"
    lines = Table.grid(padding=(0, 2))
    lines.add_column(style="dim", no_wrap=True)
    lines.add_column(overflow="fold")
    for stage, sentence in tell(added, workspace.use_case.metrics.primary):
        lines.add_row(stage, sentence)
    if not lines.row_count:
        entries = "1 entry" if len(added) == 1 else f"{len(added)} entries"
        lines.add_row("", f"{entries}, as `perennial history {workspace.use_case.slug}` tells.")
    return lines


@contextmanager
def _progress(text: str) -> Iterator[None]:
    status = errors.status(text) if errors.is_terminal else None
    handler = _Progress(status)
    loggers = [logging.getLogger(name) for name in ("prefect.flow_runs", "prefect.task_runs")]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        if status:
            status.start()
        yield
    finally:
        if status:
            status.stop()
        for logger in loggers:
            logger.removeHandler(handler)


class _Progress(logging.Handler):
    def __init__(self, status: Status | None) -> None:
        super().__init__(logging.INFO)
        self._status = status

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        task: Any = getattr(record, "task_run_name", None)
        flow: Any = getattr(record, "flow_run_name", None)
        if task and "Finished in state" in message:
            self._say(f"{flow or ''}: {task}")
        elif task and "Retry" in message:
            self._say(f"{task}: {message}")
        elif flow and message.startswith("Beginning"):
            self._say(str(flow))

    def _say(self, text: str) -> None:
        if self._status:
            self._status.update(text)
        else:
            print(text, file=sys.stderr, flush=True)
