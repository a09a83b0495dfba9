"""The Prefect server of an environment: which one it is, and a client of it."""

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from blocks.stack import connected
from perennial.errors import Permanent, Transient
from perennial.settings import Settings


class NoServerKnown(Permanent):
    """Nothing says where the server of the environment is."""


class ServerAway(Transient):
    """The server does not answer."""


class NotAllowed(Permanent):
    """The server asks for a credential that this process has not got."""


@contextmanager
def server_of(settings: Settings) -> Iterator[SyncPrefectClient]:
    """Yield a client of the environment's server; Prefect's own functions below speak to the same.

    It is the one that the environment's document names, else `PREFECT_API_URL`, else the one that `perennial up`
    started here.

    Raises:
        NoServerKnown: None of them names one.
        ServerAway: It does not answer.
        NotAllowed: It asks for a credential.
    """
    with connected(settings) as address:
        found = settings.prefect_api_url or address
        if not found:
            raise NoServerKnown(
                f"Nothing says where the Prefect server of `{settings.environment}` is. Run `perennial up` to start one "
                f"on this machine, or name one: `prefect_api_url` in blocks/environments/{settings.environment}.yaml, "
                "or the variable `PREFECT_API_URL`."
            )
        with temporary_settings({PREFECT_API_URL: found}), get_client(sync_client=True) as client:
            _greet(client, found)
            yield client


def _greet(client: SyncPrefectClient, address: str) -> None:
    try:
        client.request("GET", "/admin/version")
    except httpx.HTTPStatusError as error:
        if error.response.status_code in (401, 403):
            raise NotAllowed(
                f"The Prefect server at {address} asks for a credential. Set `PREFECT_API_AUTH_STRING` to the "
                "`user:password` that it was started with."
            ) from None
        raise
    except (httpx.TransportError, OSError) as error:
        raise ServerAway(
            f"The Prefect server at {address} does not answer ({error or type(error).__name__}). Start it, or correct "
            "the address; `perennial doctor` says more."
        ) from None
