"""Where a person looks at what an artifact names; what no server shows has no link."""

from pathlib import Path

from perennial.settings import Settings


def version_link(settings: Settings, use_case: str, version: int) -> str | None:
    """Return the page of a version in MLflow; `None` where models are registered without a server."""
    return _page(settings, f"models/{use_case}/versions/{version}")


def run_link(settings: Settings, run: str) -> str | None:
    """Return the page of an MLflow run; `None` where models are registered without a server."""
    return _page(settings, f"runs/{run}")


def version_in_mlflow(settings: Settings, use_case: str, version: int) -> str:
    """Name a version and where it is, in Markdown."""
    return f"{linked(f'version {version}', version_link(settings, use_case, version))} in MLflow"


def address(place: str) -> str:
    """Return where a file is as a browser takes it: `file://` for a path of this machine, all else as it is."""
    return place if "://" in place else Path(place).resolve().as_uri()


def linked(text: str, link: str | None) -> str:
    """Write a text as a Markdown link, if there is one."""
    return f"[{text}]({link})" if link else text


def _page(settings: Settings, page: str) -> str | None:
    server = settings.mlflow_tracking_uri
    return f"{server.rstrip('/')}/#/{page}" if server.startswith("http") else None
