"""Run what a use case asks of its data over views without rows, so that a wrong name shows before any data comes.

Where it answers online, a request that nobody sent is answered too.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from perennial.data.engine import Engine, QueryFailed
from perennial.data.features import FeaturesQueryWrong, compute_features
from perennial.data.invented import invented_rows
from perennial.data.online import OnlineFeatures
from perennial.data.recomputing import differences, features_of
from perennial.data.source_files import UnreadableFile, find_files
from perennial.data.views import open_views
from perennial.errors import Permanent
from perennial.state import State
from perennial.use_case import UseCase
from perennial.workspace import Workspace

_ANY_TIME = datetime(2000, 1, 1, tzinfo=UTC)


class BadLabel(Permanent):
    """The expression of the label cannot be computed."""


class NotForRequests(Permanent):
    """The features query runs over a period, and does not give the same for a request."""


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
    """Compute label and features of no rows, and with `serving` the features of a request.

    Raises:
        BadLabel: `label.value` names a column that its source does not declare, or is no SQL.
        QueryFailed, FeaturesQueryWrong: The features query is no SQL, or names or gives what it may not.
        NotForRequests: The online service could not run it, or would make another feature of a row than training does.
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
        if ws.use_case.serving:
            _rehearse_request(ws, engine)


def _rehearse_request(ws: Workspace, engine: Engine) -> None:
    """A row as it is asked online, alone, must have the features that it has among others in training."""
    rows = invented_rows(ws.use_case)
    query = f"`{ws.use_case.slug}/{ws.use_case.features}`"
    try:
        with OnlineFeatures(ws, _ANY_TIME, state=State()) as online:
            among = _among(engine, ws.use_case, rows)
            alone = dict(zip(online.names, online.run(rows[:1])[0], strict=True)) if among else {}
    except (QueryFailed, FeaturesQueryWrong) as error:
        raise NotForRequests(
            f"{query} runs over a period, but the service could not answer a request with it: {error} Expected a "
            "SELECT from `observations` and sources by their plain names."
        ) from error
    for name in differences(among, alone):
        raise NotForRequests(
            f"`{name}` of {query} is {among[name]} for a row among others and {alone[name]} for the same row alone, as "
            f"it is asked online. Expected what follows from its own row and the sources: for other rows read "
            f"`{ws.use_case.entity}`, with `known_at < o.event_time`."
        )


def _among(engine: Engine, use_case: UseCase, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What the first row has among the others; nothing where the query cannot do with what was invented."""
    try:
        return features_of(engine, use_case, rows)[0]
    except (QueryFailed, FeaturesQueryWrong):
        return {}
