"""Tells what is installed in an image, as JSON: it runs inside of it, on the standard library alone."""

import json
import platform
from importlib.metadata import distributions
from pathlib import Path

_DEBIAN = Path("/var/lib/dpkg/status")


def python_packages() -> list[dict[str, str]]:
    """Return name, version and licence of each distribution of this environment."""
    found = [(one.metadata["Name"], one.version, _licence(one.metadata)) for one in distributions()]
    return [{"name": name, "version": version, "licence": licence} for name, version, licence in sorted(found)]


def interpreter() -> dict[str, str]:
    """Return name and version of what runs it, which is no package where it was built by hand."""
    return {"name": platform.python_implementation().lower(), "version": platform.python_version()}


def debian_packages(text: str) -> list[dict[str, str]]:
    """Return name and version of each package that `dpkg` has installed."""
    fields = [dict(line.split(": ", 1) for line in part.splitlines() if ": " in line) for part in text.split("\n\n")]
    installed = [one for one in fields if one.get("Status", "").endswith(" installed")]
    return [{"name": one["Package"], "version": one["Version"]} for one in installed]


def _licence(metadata: object) -> str:
    asked = metadata.get("License-Expression")  # type: ignore[attr-defined]
    return str(asked or "")


if __name__ == "__main__":
    debian = debian_packages(_DEBIAN.read_text(encoding="utf-8")) if _DEBIAN.exists() else []
    print(json.dumps({"interpreter": interpreter(), "python": python_packages(), "debian": debian}))
