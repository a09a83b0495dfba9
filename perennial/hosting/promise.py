"""What is promised of an online service wherever it runs: image, command, variables, probes; it starts nothing."""

from dataclasses import dataclass

from perennial.settings import Settings

PORT = 8080
LIVE, READY = "/livez", "/readyz"
SECRETS = ("PERENNIAL_SERVING_TOKENS", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
"""Variables that are secret: named by every target, written down by none."""
REGION = "AWS_REGION"
"""Variable of where the object store is, which not every one asks for; kept beside its keys."""


@dataclass(frozen=True)
class Promise:
    """One service of one use case in one environment."""

    slug: str
    image: str
    """By digest where a registry gave it one."""
    variables: dict[str, str]
    replicas: int
    """At least so many answer, also while they are changed."""

    @property
    def told(self) -> dict[str, str]:
        """All variables that hold no secret; the image is among them, since guards put it on record with a release."""
        return {**self.variables, "PERENNIAL_SERVING_IMAGE": self.image}

    @property
    def arguments(self) -> tuple[str, ...]:
        """What one container, with one replica, is started with after `python -m serving`."""
        return (self.slug, "--host", "0.0.0.0", "--port", str(PORT), "--replicas", "1")  # noqa: S104  behind its policy


def promise_of(settings: Settings, slug: str) -> Promise:
    """Return what an environment promises of the service of a use case."""
    return Promise(slug, settings.serving_image, service_variables(settings), settings.serving_replicas)


def namespace_of(settings: Settings) -> str:
    """Return where everything of an environment is in its cluster, as deployments/kubernetes/overlays says."""
    return f"perennial-{settings.environment}"


def service_variables(settings: Settings) -> dict[str, str]:
    """Return what a service is told of its environment, which holds no secret and no place of one machine."""
    told = {
        "PERENNIAL_ENV": settings.environment,
        "PERENNIAL_STORAGE_ROOT": settings.storage_root,
        "PERENNIAL_STORAGE_ENDPOINT": settings.storage_endpoint,
    }
    return {name: value for name, value in told.items() if value}
