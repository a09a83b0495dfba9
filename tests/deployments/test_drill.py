"""A drill with real processes: a model that passes offline is taken back live, and the original stays as it is."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from deployments.drill.rehearsal import Moment, Rehearsal
from deployments.drill.stage import NoDrill, mistaken, prepare
from deployments.drill.swaps import Swap
from deployments.drill.traffic import newest_rows
from perennial.records import Entry, Judged, PredictionsCorrected, Released, ReleaseServed
from perennial.release.judging import judge_challenger
from perennial.release.releases import release
from perennial.workspace import Workspace
from tests.builders import make_use_case
from tests.perennial.release.conftest import MAY, Shop

SERVING = {"serving": {"trial": {"min_answers": 60}, "canary": {"steps": [0.5]}}}


@pytest.fixture
def served(trained_shop: Shop, tmp_path: Path) -> Workspace:
    """A copy of the shop that declares `serving`, with its model judged and released."""
    root = tmp_path / "storage"
    shutil.copytree(trained_shop.ws.settings.storage_root, root)
    declared = make_use_case(tmp_path / "declared", rows=1, changes=SERVING)
    settings = declared.settings.model_copy(update={"storage_root": str(root)})
    ws = Workspace(declared.use_case, settings)
    release(ws, judge_challenger(ws, trained_shop.trained, MAY), MAY)
    return ws


def now() -> datetime:
    return datetime.now(UTC)


def files(folder: Path) -> dict[Path, tuple[int, int]]:
    found = [one for one in folder.rglob("*") if one.is_file() and "drill" not in one.parts]
    return {one: (one.stat().st_size, one.stat().st_mtime_ns) for one in found}


def records(moments: list[Moment], kind: type) -> list[object]:
    return [one.what.record for one in moments if isinstance(one.what, Entry) and isinstance(one.what.record, kind)]


def test_only_what_is_released_and_served_can_be_rehearsed(trained_shop: Shop, tmp_path: Path) -> None:
    with pytest.raises(NoDrill, match="declares no `serving`"):
        prepare(trained_shop.ws, "direct")
    unreleased = make_use_case(tmp_path, rows=1, changes={"serving": {}})
    with pytest.raises(NoDrill, match="Nothing of `shop-returns` is released"):
        prepare(unreleased, "direct")
    remote = Workspace(unreleased.use_case, unreleased.settings.model_copy(update={"storage_root": "s3://x"}))
    with pytest.raises(NoDrill, match="is no folder"):
        prepare(remote, "direct")


def test_the_copy_has_all_that_is_needed_and_its_branch_the_label_upside_down(served: Workspace) -> None:
    copy = prepare(served, "canary")
    assert copy.state() == served.state()
    assert copy.settings.storage_root != served.settings.storage_root
    assert copy.use_case.serving and copy.use_case.serving.rollout == "canary"
    assert copy.use_case.spec_digest == served.use_case.spec_digest, "nothing but how it is served"
    branch = mistaken(copy)
    assert branch.use_case.label.value == "1 - CAST((returned) AS DOUBLE)"
    assert branch.use_case.features_digest != copy.use_case.features_digest
    assert 130 <= len(newest_rows(copy)) <= 140, "the last third of a month"


@pytest.mark.alone
@pytest.mark.long
@pytest.mark.parametrize("is_known", [False, True], ids=["a new release", "one known to answer well"])
def test_a_model_that_passes_offline_and_fails_live_is_rolled_back_and_corrected(
    served: Workspace, is_known: bool
) -> None:
    if is_known:
        well = ReleaseServed(release=1, answers=99, replicas=("a",))
        served.journal.decide(lambda entries: well, MAY)
    before = files(Path(served.settings.storage_root))
    moments = list(Rehearsal(served, "direct", 60, 2, now).live_through())
    assert files(Path(served.settings.storage_root)) == before
    [judged] = records(moments, Judged)
    assert isinstance(judged, Judged) and judged.verdict.answer.value == "PASS"
    bad, back = records(moments, Released)
    assert isinstance(bad, Released) and isinstance(back, Released)
    assert (back.withdraws, back.version) == (bad.number, served.state().champion.version)  # type: ignore[union-attr]
    assert "Probation" in back.reason
    swaps = [one.what for one in moments if isinstance(one.what, Swap)]
    assert [(one.release, one.replicas) for one in swaps] == [(bad.number, 2), (back.number, 2)]
    sent = moments[-1].sent
    assert sent.failed == 0, sent.reasons
    [corrected] = records(moments, PredictionsCorrected)
    assert isinstance(corrected, PredictionsCorrected) and corrected.rows == sent.versions[bad.version] > 0
