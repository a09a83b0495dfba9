"""The Prefect server of an environment: which one it is, and a client of it."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client

from blocks.stack import connected
from perennial.errors import Permanent, Transient
from perennial.settings import Settings

_OF_A_SERVER = (401, 403, 429)
"""Statuses by which a Prefect server, or what guards it, refuses whoever asks."""


class NoServerKnown(Permanent):
    """Nothing says where the server of the environment is."""


class ServerAway(Transient):
    """The server does not answer, or only that it cannot."""


class NoPrefectThere(Permanent):
    """Something else answers at the address of the server."""


class NotAllowed(Permanent):
    """The server asks for a credential that this process has not got."""


@contextmanager
def server_of(settings: Settings) -> Iterator[SyncPrefectClient]:
    """Yield a client of the environment's server; Prefect's own functions below speak to the same.

    It is the one that the environment's document names, else `PREFECT_API_URL`, else the one that `perennial up`
    started here.

    Raises:
        NoServerKnown: None of them names one.
        ServerAway: It does not answer, or with a fault of its own (5xx).
        NoPrefectThere: Something answers that is no Prefect API.
        NotAllowed: It asks for a credential.
    """
    with connected(settings) as found:
        if not found:
            raise NoServerKnown(
                f"Nothing says where the Prefect server of `{settings.environment}` is. Run `perennial up` to start "
                "one on this machine, or name one: by the variable `PREFECT_API_URL`, or by `prefect_api_url` in "
                f"blocks/environments/{settings.environment}.yaml."
            )
        with _telling_of_trouble(found):
            _require_prefect(found)  # at once, where Prefect tries for a minute
            with get_client(sync_client=True) as client:
                client.request("GET", "/admin/version")
                yield client


def _require_prefect(address: str) -> None:
    answer = httpx.get(f"{address}/health", timeout=10)
    if answer.status_code in _OF_A_SERVER or answer.is_server_error:
        answer.raise_for_status()
    with suppress(ValueError):
        if answer.is_success:
            answer.json()
            return
    raise NoPrefectThere(
        f"There is no Prefect API at {address}: `/health` answered {answer.status_code}, expected 200 with JSON. "
        "Correct the address (`PREFECT_API_URL` or `prefect_api_url`); it ends in /api."
    )


@contextmanager
def _telling_of_trouble(address: str) -> Iterator[None]:
    try:
        yield
    except httpx.TransportError as error:
        raise ServerAway(
            f"The Prefect server at {address} does not answer ({error or type(error).__name__}). Start it, or correct "
            "the address."
        ) from None
    except httpx.HTTPStatusError as error:
        status = error.response.status_code
        if status == httpx.codes.TOO_MANY_REQUESTS or error.response.is_server_error:
            raise ServerAway(f"The Prefect server at {address} cannot answer ({status}); its log says why.") from None
        if status not in (401, 403):
            raise
        raise NotAllowed(
            f"The Prefect server at {address} asks for a credential. Set `PREFECT_API_AUTH_STRING` to the "
            "`user:password` that it was started with."
        ) from None
