"""Run what a use case asks of its data over views without rows, so that a wrong name shows before any data comes."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from perennial.data.engine import Engine, QueryFailed
from perennial.data.features import compute_features
from perennial.data.source_files import UnreadableFile, find_files
from perennial.data.views import open_views
from perennial.errors import Permanent
from perennial.workspace import Workspace

_ANY_TIME = datetime(2000, 1, 1, tzinfo=UTC)


class BadLabel(Permanent):
    """The expression of the label cannot be computed."""


def files_not_there(ws: Workspace) -> Iterator[str]:
    """Name the sources of which no local file of any period is there: right for now, if the first delivery is to come.

    Files of an object store are not looked for, since a declaration is checked where nothing need be reached.
    """
    for name, source in ws.use_case.sources.items():
        address = getattr(source.read, "csv", None) or getattr(source.read, "parquet", None)
        if address is None or "://" in address:
            continue
        try:
            find_files(ws.settings, address.replace("{period}", "*"), Path())
        except UnreadableFile as error:
            yield f"`sources.{name}.read` of `{ws.use_case.slug}`: {error}"


def rehearse(ws: Workspace) -> None:
    """Compute label and features of no rows.

    Raises:
        BadLabel: `label.value` names a column that its source does not declare, or is no SQL.
        QueryFailed, FeaturesQueryWrong: The features query is no SQL, or names or gives what it may not.
    """
    label = ws.use_case.label
    with Engine(ws.settings) as engine:
        try:
            open_views(engine, ws, _ANY_TIME, deliveries=())
        except QueryFailed as error:
            columns = ", ".join(f"`{one}`" for one in ws.use_case.sources[label.source].columns)
            raise BadLabel(
                f"`label.value` of {ws.use_case.folder / 'use_case.yaml'}, `{label.value}`, cannot be computed: "
                f"{str(error).splitlines()[0]} Expected a SQL expression over columns of `{label.source}`: {columns}."
            ) from error
        compute_features(engine, ws.use_case)
