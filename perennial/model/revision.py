"""Which code and which libraries ran, for the record; nothing depends on the answer."""

import os
import subprocess
from functools import cache
from pathlib import Path

from perennial.digests import digest_bytes

_ROOT = Path(__file__).parents[2]


@cache
def code_revision() -> str:
    """Return the git revision of the checkout, with `-dirty` for uncommitted changes; `unknown` without git.

    An image has no git; there `PERENNIAL_REVISION` says what it was built from.
    """
    if built_from := os.environ.get("PERENNIAL_REVISION"):
        return built_from
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        found = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=True, timeout=10)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return found.stdout.strip() or "unknown"


@cache
def lock_digest() -> str:
    """Return the digest of `requirements.lock`; `unknown` where there is none."""
    lock = _ROOT / "requirements.lock"
    return digest_bytes(lock.read_bytes()) if lock.is_file() else "unknown"
