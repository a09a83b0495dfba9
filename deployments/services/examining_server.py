"""What `perennial doctor` asks the servers of an environment: Prefect, MLflow, the work pool, deployments, secrets."""

import base64
import json
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from blocks.secrets import missing_secrets
from blocks.stack import known_address, read_keys, with_registry
from deployments.services.doctor import Check, Finding, ok, problem
from deployments.services.launches import pool_name
from deployments.services.overview import server_overview
from perennial.errors import PerennialError
from perennial.model.mlflow_client import shown_uri
from perennial.settings import Settings

_TOLERATED_SKEW = 5.0
_GUARD = "Give the same as `PREFECT_API_AUTH_STRING` to its workers and to whoever uses it."
_UP = "Start the services of this machine by `perennial up`, or set PREFECT_API_URL to the server of the environment."


def checks(now: Callable[[], datetime]) -> tuple[Check, ...]:
    """Return the checks that need a server; `now` is the clock of this machine."""

    def _clock(settings: Settings) -> Iterator[Finding]:
        yield from _skew(known_address(settings), now)

    return (_prefect, _clock, _mlflow, _worker, _deployments, _secret_blocks)


def _prefect(settings: Settings) -> Iterator[Finding]:
    from deployments.server import server_of, unguarded

    try:
        with server_of(settings) as client:
            if warning := unguarded(settings, str(client.api_url).rstrip("/")):
                yield problem("prefect", warning, _GUARD)
            else:
                yield ok("prefect", f"{client.api_url} answers and knows us; it is Prefect {client.api_version()}.")
    except PerennialError as error:
        yield problem("prefect", str(error), _UP)


def _skew(address: str | None, now: Callable[[], datetime]) -> Iterator[Finding]:
    if address is None:
        yield Finding("clock", "skipped", "No server to compare with.")
        return
    with urllib.request.urlopen(f"{address}/health", timeout=5) as answer:  # noqa: S310
        theirs = parsedate_to_datetime(answer.headers["Date"]).astimezone(UTC)
    apart = abs((now() - theirs).total_seconds())
    if apart > _TOLERATED_SKEW:
        yield problem(
            "clock",
            f"This machine and the server differ by {apart:.0f} s, expected at most {_TOLERATED_SKEW:.0f}.",
            "Let both follow NTP: schedules, leases and heartbeats compare the two.",
        )
    else:
        yield ok("clock", "This machine and the server agree on the time.")


def _mlflow(settings: Settings) -> Iterator[Finding]:
    place = with_registry(settings)
    if not place.mlflow_tracking_uri:
        if settings.environment == "dev":
            yield ok("mlflow", f"Models are registered in `{shown_uri(settings)}`, without a server.")
        else:
            yield problem("mlflow", "No MLflow server is known.", "`perennial up`, or set mlflow_tracking_uri.")
        return
    uri, where = place.mlflow_tracking_uri, shown_uri(place)
    try:
        urllib.request.urlopen(_question(settings, uri), timeout=10).close()  # noqa: S310
        yield ok("mlflow", f"{where} answers and knows us.")
    except urllib.error.HTTPError as refused:
        remedy = "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD."
        if refused.code == 401 and read_keys(settings):
            remedy += " The administrator's password was fixed when its database was new; that one is needed."
        yield problem("mlflow", f"{where} answers {refused.code}.", remedy)
    except OSError as error:
        yield problem("mlflow", f"{where} does not answer: {error}", "Start it by `perennial up`, or see its log.")


def _question(settings: Settings, uri: str) -> urllib.request.Request:
    keys = {**read_keys(settings), **os.environ}
    user, password = keys.get("MLFLOW_TRACKING_USERNAME"), keys.get("MLFLOW_TRACKING_PASSWORD")
    headers = {"Content-Type": "application/json"}
    if user and password:
        headers["Authorization"] = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
    body = json.dumps({"max_results": 1}).encode()
    return urllib.request.Request(f"{uri}/api/2.0/mlflow/experiments/search", body, headers)  # noqa: S310


def _worker(settings: Settings) -> Iterator[Finding]:
    told = server_overview(settings)
    if told is None or "error" in told:
        yield Finding("worker", "skipped", "No server to ask.")
        return
    online = [one["worker"] for one in told["workers"] if one["status"] == "ONLINE"]
    if online:
        yield ok("worker", f"`{pool_name(settings)}` has the workers {', '.join(online)}.")
    else:
        yield problem(
            "worker",
            f"No worker of the pool `{pool_name(settings)}` is online: runs are late until one is.",
            f"`perennial up` here, or `prefect worker start --pool {pool_name(settings)}` where flows shall run.",
        )


def _deployments(settings: Settings) -> Iterator[Finding]:
    from deployments.apply import changes
    from deployments.server import NoPrefectThere, NoServerKnown, NotAllowed, ServerAway, server_of

    try:
        with server_of(settings) as client:
            left = changes(client, settings)
    except (NoServerKnown, ServerAway, NoPrefectThere, NotAllowed):
        yield Finding("deployments", "skipped", "No server to ask.")
        return
    if left:
        named = ", ".join(f"{one.item.kind} `{one.item.name}`" for one in left[:3]) + (", ..." if len(left) > 3 else "")
        remedy = f"`perennial plan --env {settings.environment}` shows it, `perennial apply` makes it so."
        yield problem("deployments", f"The server differs from the code in {len(left)}: {named}.", remedy)
    else:
        yield ok("deployments", f"The server has `{settings.environment}` as the code declares it.")


def _secret_blocks(settings: Settings) -> Iterator[Finding]:
    missing = missing_secrets(settings)
    if not missing or known_address(settings) is None:
        return
    from deployments.server import server_of

    with server_of(settings) as client:
        absent = [(name, block) for name, block in missing.items() if not _has_block(client, block)]
    if absent:
        names = ", ".join(f"`{name}` (Secret block `{block}`)" for name, block in absent)
        yield problem("secret blocks", f"Neither set nor saved: {names}.", "Set the variables, or save the blocks.")
    else:
        yield ok("secret blocks", f"Saved: {', '.join(missing.values())}.")


def _has_block(client: Any, block: str) -> bool:
    from prefect.exceptions import ObjectNotFound

    try:
        client.read_block_document_by_name(block, "secret", include_secrets=False)
    except ObjectNotFound:
        return False
    return True
