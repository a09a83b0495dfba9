"""What the service is told by its environment variables; it opens nothing."""

from collections.abc import Mapping
from ipaddress import ip_address

from pydantic import BaseModel, ConfigDict, Field

from perennial.errors import Permanent
from perennial.settings import Settings

MAX_BODY = 8 * 2**20
SHARED = "PROMETHEUS_MULTIPROC_DIR"
"""Variable with the folder that the processes of one service share, for their metrics and ledgers; the supervisor's."""


class ServiceRefused(Permanent):
    """The service is not started as it is told to."""


class ServiceSettings(BaseModel):
    """How one process answers for one use case."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    slug: str
    storage: Settings
    tokens: tuple[str, ...] = ()
    """Bearer tokens, any of which opens the service; without one it is open, and on loopback only."""
    max_body: int = Field(MAX_BODY, ge=1024)
    """Bytes of one request."""
    rate: float = Field(0, ge=0)
    """Requests per second and client; 0 for no limit."""
    host: str = "127.0.0.1"
    port: int = 8080

    @property
    def environment(self) -> str:
        return self.storage.environment


def read_settings(slug: str, host: str, port: int, variables: Mapping[str, str]) -> ServiceSettings:
    """Return the settings of a service.

    Args:
        slug: The use case.
        host: Address to listen on.
        port: 0 for any that is free.
        variables: `PERENNIAL_ENV`, `_STORAGE_ROOT`, `_STORAGE_ENDPOINT`, `_USE_CASES`, `_SERVING_TOKENS`,
            `_SERVING_MAX_BODY`, `_SERVING_RATE` and `_SERVING_IMAGE`, each with that prefix.

    Raises:
        ServiceRefused: There is no storage root, or it would be open to others than this machine.
    """
    root = variables.get("PERENNIAL_STORAGE_ROOT", "")
    if not root:
        raise ServiceRefused(
            "`PERENNIAL_STORAGE_ROOT` is not set. Expected the folder or object store with journal and models."
        )
    tokens = tuple(one.strip() for one in variables.get("PERENNIAL_SERVING_TOKENS", "").split(",") if one.strip())
    if not tokens and not _is_loopback(host):
        raise ServiceRefused(
            f"The service would answer anybody who reaches `{host}`. Set `PERENNIAL_SERVING_TOKENS`, or listen on "
            "127.0.0.1. Nothing was started."
        )
    storage = Settings(
        environment=variables.get("PERENNIAL_ENV", "dev"),
        storage_root=root,
        storage_endpoint=variables.get("PERENNIAL_STORAGE_ENDPOINT", ""),
        use_cases=variables.get("PERENNIAL_USE_CASES", "use_cases"),
        threads=1,
        memory_limit="1GB",
        serving_image=variables.get("PERENNIAL_SERVING_IMAGE", ""),
    )
    return ServiceSettings(
        slug=slug,
        storage=storage,
        tokens=tokens,
        max_body=_number(variables, "PERENNIAL_SERVING_MAX_BODY", MAX_BODY, int),
        rate=_number(variables, "PERENNIAL_SERVING_RATE", 0, float),
        host=host,
        port=port,
    )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _number(variables: Mapping[str, str], name: str, otherwise: float, kind: type[int] | type[float]) -> int | float:
    text = variables.get(name, "").strip()
    try:
        return kind(text) if text else otherwise
    except ValueError:
        raise ServiceRefused(f"`{name}` is `{text}`, expected a number. Nothing was started.") from None
