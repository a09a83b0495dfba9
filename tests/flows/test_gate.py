"""What the gate does not pass goes through the flows that register and deploy, and is not released."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from blocks.documents import using
from flows.deployment import deploy
from flows.registration import register
from perennial.model.fitted import Fitted, Sample
from perennial.model.training import train
from perennial.records import Answer, Judged
from perennial.release.releases import NotReleasable, StaleVerdict
from perennial.workspace import Workspace
from tests.builders import MONTHS, deliver, make_use_case
from tests.perennial.release.conftest import MAY, Shop, with_labels
from tests.perennial.release.test_judging import NotANumber, shuffled, wrong_where_first_channel

SPOILED: dict[str, tuple[Callable[[Sample], Sample], Fitted | None, str]] = {
    "shuffled labels": (with_labels(shuffled), None, "all below the margin of 0"),
    "one bad slice": (with_labels(wrong_where_first_channel), None, "Where `channel` = `app`"),
    "no numbers": (lambda sample: sample, NotANumber(float("nan")), "are not finite numbers"),
}


@pytest.fixture(scope="module")
def stocked(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Four months of data and one honest training, which tests only copy."""
    workspace = make_use_case(tmp_path_factory.mktemp("stocked"))
    deliver(workspace, *MONTHS)
    train(workspace, MAY)
    return workspace


def copied(stocked: Workspace, folder: Path) -> Shop:
    for part in ("storage", "use_cases"):
        shutil.copytree(Path(stocked.settings.use_cases).parent / part, folder / part)
    places = {"storage_root": str(folder / "storage"), "use_cases": str(folder / "use_cases")}
    workspace = Workspace.open("shop-returns", stocked.settings.model_copy(update=places))
    return Shop(workspace, workspace.state().trained[-1])


@pytest.fixture(scope="module")
def serving(server: None, stocked: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """The honest model serves."""
    shop = copied(stocked, tmp_path_factory.mktemp("serving"))
    with using(shop.ws.settings):
        judge_newest()
        deploy("shop-returns", as_of=MAY)
        yield shop


def judge_newest() -> Judged:
    judged: Judged = register("shop-returns", as_of=MAY)
    return judged


@pytest.mark.parametrize(("spoil", "fitted", "reason"), SPOILED.values(), ids=SPOILED)
def test_a_planted_worse_model_is_registered_and_not_released(
    serving: Shop, spoil: Callable[[Sample], Sample], fitted: Fitted | None, reason: str
) -> None:
    planted = serving.keep(spoil, fitted)
    judged = judge_newest()
    assert (judged.model, judged.verdict.answer) == (planted.model, Answer.FAIL)
    assert any(reason in one for one in judged.verdict.reasons), judged.verdict.reasons
    with pytest.raises(NotReleasable, match="The gate said FAIL to version"):
        deploy("shop-returns", as_of=MAY)
    assert [one.model for one in serving.ws.state().released] == [serving.trained.model]


def test_a_changed_gate_bites_and_frees_the_model_that_waits(server: None, stocked: Workspace, tmp_path: Path) -> None:
    shop = copied(stocked, tmp_path)
    file = shop.ws.use_case.folder / "use_case.yaml"
    declared = file.read_text()
    with using(shop.ws.settings):
        assert judge_newest().verdict.answer is Answer.PASS
        file.write_text(declared.replace("floor: 0.65", "floor: 0.99"))
        with pytest.raises(StaleVerdict, match="was judged by another `gate`"):
            deploy("shop-returns", as_of=MAY)
        assert judge_newest().verdict.answer is Answer.FAIL
        with pytest.raises(NotReleasable, match="The gate said FAIL"):
            deploy("shop-returns", as_of=MAY)
        assert shop.ws.state().champion is None
        file.write_text(declared)
        assert judge_newest().verdict.answer is Answer.PASS
        assert deploy("shop-returns", as_of=MAY).model == shop.trained.model
