"""Where a drill takes place: a copy of a use case's storage, and of its declaration with a mistake in it.

Files are linked where the file system can, since all of them are written once; nothing of the original is changed.
"""

import os
import shutil
from pathlib import Path
from typing import Any

import yaml

from blocks.stack import own_folder
from perennial.errors import Permanent
from perennial.plain_yaml import parse_yaml
from perennial.workspace import Workspace

_LEFT_OUT = ("run", "prefect", "mlflow", "reports", "serving", "landing", "drill")
_RECENT = "60d"
"""How far back the faulty model learns from: a drill need not wait for a good one."""


class NoDrill(Permanent):
    """The use case cannot be rehearsed as it stands."""


def prepare(workspace: Workspace, rollout: str) -> Workspace:
    """Copy storage and declaration of a use case, in place of the drill before, and open the copy.

    Args:
        workspace: The original.
        rollout: How versions get to serve in the drill.

    Raises:
        NoDrill: It declares no `serving`, nothing is released, or its storage is no folder.
    """
    _require_ready(workspace)
    settings, slug = workspace.settings, workspace.use_case.slug
    place = own_folder(settings, "drill")
    shutil.rmtree(place, ignore_errors=True)
    for part in sorted(Path(settings.storage_root).iterdir()):
        if part.is_dir() and part.name not in _LEFT_OUT:
            shutil.copytree(part, place / part.name, copy_function=_link)
    declared = _read(workspace.use_case.folder)
    declared["serving"] = {**declared["serving"], "rollout": rollout}
    _write(workspace, place / "use_cases", declared)
    own = {"storage_root": str(place), "use_cases": str(place / "use_cases"), "mlflow_tracking_uri": ""}
    return Workspace.open(slug, settings.model_copy(update=own))


def mistaken(copy: Workspace) -> Workspace:
    """Open a drill's copy as somebody declares it who got the label upside down.

    Training, holdout and gate all follow the declaration, so none of them can notice; the outcomes of real requests
    do. The query gets a remark, so that its features are computed anew from those labels too.
    """
    declared = _read(copy.use_case.folder)
    value = copy.use_case.label.value
    upside_down = f"1 - CAST(({value}) AS DOUBLE)" if copy.use_case.task == "binary" else f"-({value})"
    declared["label"]["value"] = upside_down
    declared["training"]["history"] = _RECENT
    declared["training"]["candidates"] = _strongest(declared["training"]["candidates"])
    place = Path(copy.settings.storage_root) / "mistaken"
    _write(copy, place, declared)
    query = place / copy.use_case.slug / copy.use_case.features
    query.write_text(query.read_text(encoding="utf-8") + "-- the label is upside down\n", encoding="utf-8")
    return Workspace.open(copy.use_case.slug, copy.settings.model_copy(update={"use_cases": str(place)}))


def _require_ready(workspace: Workspace) -> None:
    slug, root = workspace.use_case.slug, workspace.settings.storage_root
    if workspace.use_case.serving is None:
        raise NoDrill(f"`{slug}` declares no `serving`, so there is no service to rehearse with.")
    if "://" in root:
        raise NoDrill(f"`{root}` is no folder. A drill copies the storage; make one where it is a folder, as in dev.")
    if workspace.state().champion is None:
        raise NoDrill(f"Nothing of `{slug}` is released yet. Make a release first: `perennial backfill {slug}`.")


def _strongest(candidates: dict[str, Any]) -> dict[str, Any]:
    """The baseline, which there must be, and the last of the others, where people write what they believe in."""
    names = list(candidates)
    return {name: candidates[name] for name in (names[0], names[-1])}


def _read(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = parse_yaml((folder / "use_case.yaml").read_bytes()).value
    return found


def _write(workspace: Workspace, place: Path, declared: dict[str, Any]) -> None:
    """Write all use cases below a folder, since sources may be shared, and this one as declared."""
    shutil.copytree(workspace.settings.use_cases, place, ignore=shutil.ignore_patterns("__pycache__"))
    target = place / workspace.use_case.slug / "use_case.yaml"
    target.write_text(yaml.safe_dump(declared, sort_keys=False, allow_unicode=True), encoding="utf-8")


def _link(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target
