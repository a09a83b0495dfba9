"""What `perennial doctor` looks for on this machine: Python, packages, storage, disk, secrets, pid files."""

import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from uuid import uuid4

from blocks.documents import PROJECT
from blocks.secrets import keeping_secrets, missing_secrets
from blocks.stack import own_folder, read_keys, read_stack, run_folder
from deployments.services.doctor import Check, Finding, ok, problem
from deployments.services.keys import storage_keys
from perennial.settings import Settings
from perennial.store import Store

_INSTALL = "Install what is locked: `make setup` (or `rm .venv/.installed` first, if it believes that it is done)."
_LIMITS = {
    "fastapi": ((0, 151), "later ones break the API of the Prefect server"),
    "sqlalchemy": ((2, 1), "with it the Prefect scheduler silently never makes a run"),
}
_LOCKED = re.compile(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)(?: ; ([^\\]+))?")
_ENOUGH = 2 << 30


def installation() -> Iterator[Finding]:
    """Compare Python and the installed packages with what the project is built for."""
    running = ".".join(map(str, sys.version_info[:3]))
    if (3, 11) <= sys.version_info < (3, 14):
        yield ok("python", f"Python {running}.")
    else:
        yield problem("python", f"Python {running}, expected 3.11 to 3.13.", "`make setup PYTHON=python3.11`.")
    wrong = [said for name, (limit, why) in _LIMITS.items() for said in _beyond(name, limit, why)]
    wrong += _differing(PROJECT / "requirements.lock")
    if wrong:
        rest = f", and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        yield problem("packages", "; ".join(wrong[:5]) + rest + ".", _INSTALL)
    else:
        yield ok("packages", "Installed as requirements.lock says.")


def _beyond(name: str, limit: tuple[int, ...], why: str) -> Iterator[str]:
    installed = _installed(name)
    if installed and tuple(int(part) for part in re.findall(r"\d+", installed)[: len(limit)]) >= limit:
        yield f"{name} {installed} is installed, expected below {'.'.join(map(str, limit))}: {why}"


def _differing(lock: Path) -> list[str]:
    if not lock.exists():
        return ["requirements.lock is missing"]
    from packaging.markers import Marker
    from packaging.version import Version

    found = [match for match in map(_LOCKED.match, lock.read_text(encoding="utf-8").splitlines()) if match]
    meant = [(name, wanted) for name, wanted, marker in (m.groups() for m in found) if _applies(marker, Marker)]
    return [
        f"{name} is {_installed(name) or 'missing'}, locked {wanted}"
        for name, wanted in meant
        if (there := _installed(name)) is None or Version(there) != Version(wanted)
    ]


def _applies(marker: str | None, kind: type) -> bool:
    return marker is None or bool(kind(marker.strip()).evaluate())


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _storage(settings: Settings) -> Iterator[Finding]:
    root = settings.storage_root
    try:
        with _having(storage_keys(settings) if "://" in root else {}):
            is_same = _is_kept(Store(root, settings.storage_endpoint))
    except Exception as error:  # obstore, botocore and the file system each have their own
        said = f"`{root}` cannot be written: {type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"
        keys = "Check that it exists, and that AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY may write to it."
        yield problem("storage", said, keys if "://" in root else f"Make `{root}` writable for this user.")
        return
    if is_same:
        yield ok("storage", f"`{root}` can be written and read.")
    else:
        yield problem("storage", f"`{root}` returned something else than was written.", "Check the storage itself.")


def _is_kept(store: Store) -> bool:
    """Write something under a name that no other doctor uses, read it, and remove it."""
    probe = uuid4().hex
    path = f"run/probe-{probe}"
    store.put(path, probe.encode())
    try:
        return store.get(path) == probe.encode()
    finally:
        store.delete(path)


@contextmanager
def _having(variables: dict[str, str]) -> Iterator[None]:
    """Lend the process variables that it lacks; errors are told without their values."""
    lent = {name: value for name, value in variables.items() if not os.environ.get(name)}
    os.environ.update(lent)
    try:
        with keeping_secrets():
            yield
    finally:
        for name in lent:
            del os.environ[name]


def _disk(settings: Settings) -> Iterator[Finding]:
    place = own_folder(settings, "run")
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < _ENOUGH:
        yield problem("disk", f"{free / 2**30:.1f} GB are free at `{place}`, expected 2 or more.", "Free some space.")
    else:
        yield ok("disk", f"{free / 2**30:.0f} GB are free at `{place}`.")


def _secrets(settings: Settings) -> Iterator[Finding]:
    generated = read_keys(settings)
    missing = {name: block for name, block in missing_secrets(settings).items() if name not in generated}
    if not settings.secrets:
        yield ok("secrets", "The environment asks for none.")
    elif not missing:
        yield ok("secrets", f"Set in this process, or generated for its servers: {', '.join(settings.secrets)}.")
    else:
        blocks = ", ".join(f"`{name}` (or the Secret block `{block}`)" for name, block in missing.items())
        yield Finding("secrets", "skipped", f"Not set in this process: {blocks}. The server is asked for the blocks.")


def _pid_files(settings: Settings) -> Iterator[Finding]:
    dead = [one.name for one in read_stack(settings).services.values() if one.process is None]
    if dead:
        record = run_folder(settings) / "stack.json"
        yield problem(
            "services",
            f"{', '.join(dead)} ended without `perennial down`: `{record}` is out of date.",
            "`perennial up` starts them again, `perennial down` stops the others and clears it.",
        )
    else:
        running = ", ".join(read_stack(settings).services) or "none started here"
        yield ok("services", f"Running on this machine: {running}.")


def _notifications(settings: Settings) -> Iterator[Finding]:
    from deployments.notifications import untold

    if silence := untold(settings):
        happened, remedy = silence.split(". ", 1)
        yield problem("notifications", f"{happened}.", remedy)
    elif settings.notifications:
        yield ok("notifications", f"People are told through {', '.join(settings.notifications)}.")


CHECKS: tuple[Check, ...] = (_storage, _disk, _secrets, _notifications, _pid_files)
