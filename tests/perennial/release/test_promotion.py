"""A model of one environment in the next: copied byte for byte with its evidence, and judged again on other rows."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from perennial.model.registry import project_aliases, register
from perennial.periods import Period
from perennial.records import Answer, Answered, Judged, Promoted, Verdict
from perennial.release.judging import judge_challenger
from perennial.release.predictions import predict
from perennial.release.promotion import (
    NothingToPromote,
    NotPromotable,
    SameEnvironment,
    receive_model,
    record_answer,
)
from perennial.release.releases import NotApproved, release, rollback
from perennial.settings import Settings
from perennial.workspace import Workspace
from tests.builders import MONTHS, deliver, write_month
from tests.perennial.release.conftest import MAY, Shop, with_labels
from tests.storage_servers import S3, s3_server

JUNE = MAY.replace(month=6)


@dataclass(frozen=True)
class Next:
    """The environment after the shop's, with deliveries of its own and nothing trained."""

    ws: Workspace
    source: Workspace

    def promote(self, version: int | None = None) -> Promoted:
        return receive_model(self.ws, self.source, version, JUNE)

    def judge(self, promoted: Promoted) -> Judged:
        register(self.ws, promoted.trained, JUNE)
        return judge_challenger(self.ws, promoted.trained, JUNE)


def at(folder: Path, use_cases: Path, environment: str, **changes: str) -> Workspace:
    root = str(folder / environment)
    settings = Settings(environment=environment, storage_root=root, use_cases=str(use_cases), threads=2)
    return Workspace.open("shop-returns", settings.model_copy(update=changes))


@dataclass(frozen=True)
class Template:
    """Two environments below a folder, made once and copied for each test."""

    folder: Path
    use_cases: Path

    def copy(self, folder: Path) -> Next:
        for environment in ("test", "next"):
            if (self.folder / environment).exists():
                shutil.copytree(self.folder / environment, folder / environment)
        shutil.copytree(self.use_cases, folder / "use_cases")
        ours = folder / "use_cases"
        return Next(at(folder, ours, "next", approval="person"), at(folder, ours, "test"))


@pytest.fixture(scope="module")
def bare(trained_shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Template:
    """A version that serves in the first environment, and nothing in the next; deliveries of one month more."""
    folder = tmp_path_factory.mktemp("bare")
    shutil.copytree(trained_shop.ws.settings.use_cases, folder / "use_cases")
    shutil.copytree(trained_shop.ws.settings.storage_root, folder / "test")
    write_month(folder / "use_cases" / "shop-returns", "2024-05", 400, seed=50)
    source = at(folder, folder / "use_cases", "test")
    release(source, judge_challenger(source, trained_shop.trained, MAY), MAY)
    return Template(folder, folder / "use_cases")


@pytest.fixture(scope="module")
def stocked(bare: Template, tmp_path_factory: pytest.TempPathFactory) -> Template:
    """The next environment has received five months."""
    found = bare.copy(folder := tmp_path_factory.mktemp("stocked"))
    deliver(found.ws, *MONTHS, "2024-05")
    return Template(folder, folder / "use_cases")


@pytest.fixture(scope="module")
def arrived(stocked: Template, tmp_path_factory: pytest.TempPathFactory) -> Template:
    """And the model, which has passed the gate there."""
    found = stocked.copy(folder := tmp_path_factory.mktemp("arrived"))
    found.judge(found.promote())
    return Template(folder, folder / "use_cases")


@pytest.fixture
def before(bare: Template, tmp_path: Path) -> Next:
    return bare.copy(tmp_path)


@pytest.fixture
def after(stocked: Template, tmp_path: Path) -> Next:
    return stocked.copy(tmp_path)


@pytest.fixture
def there(arrived: Template, tmp_path: Path) -> Next:
    return arrived.copy(tmp_path)


@pytest.fixture
def shop(after: Next) -> Shop:
    """The first environment, for planting models."""
    return Shop(after.source, after.source.state().trained[0])


def approval(judged: Judged, approved: bool = True) -> Answered:
    return Answered(
        model=judged.model,
        version=judged.version,
        against_version=judged.against_version,
        approved=approved,
        who="ada",
        reason="seen",
    )


def test_a_promoted_model_is_the_same_bytes_judged_on_the_rows_of_its_new_place(after: Next) -> None:
    promoted = after.promote()
    origin = after.source.state().trained[-1]
    assert promoted.model == origin.model
    for path in after.source.store.list(f"models/{origin.model}"):
        assert after.ws.store.get(path) == after.source.store.get(path)
    assert (promoted.source.environment, promoted.source.version) == ("test", 1)
    assert promoted.source.trained == origin and promoted.source.judged.verdict.answer is Answer.PASS
    assert (promoted.trained.fit, promoted.trained.validation) == (origin.fit, origin.validation)
    assert promoted.trained.holdout.start > origin.holdout.start
    assert promoted.trained.snapshots != origin.snapshots
    judged = after.judge(promoted)
    assert judged.verdict.answer is Answer.PASS
    assert judged.against == promoted.trained.baseline != origin.baseline
    assert judged.verdict.numbers["gain"] != promoted.source.judged.verdict.numbers["gain"]


@pytest.mark.long
def test_from_bucket_to_bucket_it_is_what_it_is_from_folder_to_folder(
    after: Next, monkeypatch: pytest.MonkeyPatch
) -> None:
    with s3_server() as s3:
        for name, value in s3.variables.items():
            monkeypatch.setenv(name, value)
        places = [in_bucket(s3, one) for one in (after.ws, after.source)]
        promoted = Next(*places).promote()
        other = after.promote()
        assert promoted.trained == other.trained
        assert [one.trained for one in promoted.stations] == [one.trained for one in other.stations]
        copied = s3.keys("next", f"models/{promoted.model}")
        assert copied == s3.keys("test", f"models/{promoted.model}") != []
        assert all(places[0].store.get(path) == after.source.store.get(path) for path in copied)


def in_bucket(s3: S3, ws: Workspace) -> Workspace:
    """Copy an environment to a bucket of its name, and open it there."""
    root = Path(ws.settings.storage_root)
    url = s3.create_bucket(ws.settings.environment)
    for file in (one for one in root.rglob("*") if one.is_file()):
        s3.client.upload_file(str(file), ws.settings.environment, str(file.relative_to(root)))
    settings = ws.settings.model_copy(update={"storage_root": url, "storage_endpoint": s3.endpoint})
    return Workspace.open(ws.use_case.slug, settings)


def test_it_gets_a_version_of_its_own_that_says_where_it_came_from(after: Next) -> None:
    from perennial.model.mlflow_client import registry_client

    promoted = after.promote()
    after.judge(promoted)
    project_aliases(after.ws)
    with registry_client(after.ws.settings) as client:
        found = client.get_model_version("shop-returns", "1")
        files = {one.path for one in client.list_artifacts(found.run_id)}
    assert found.tags["perennial.environment"] == "next"
    assert found.tags["perennial.promoted-from"] == "test"
    assert found.tags["perennial.promoted-from.version"] == "1"
    assert found.tags["perennial.verdict"] == "PASS"
    assert {"promoted.json", "trained.json", "model-card.md"} <= files


def test_promoting_again_changes_nothing(there: Next) -> None:
    entries = there.ws.journal.entries()
    [promoted] = there.ws.state().promoted.values()
    assert there.promote() == promoted
    assert there.judge(promoted) == there.ws.state().judged[-1]
    assert there.ws.journal.entries() == entries


def test_it_serves_only_after_a_person_said_yes(there: Next) -> None:
    judged = there.ws.state().judged[-1]
    with pytest.raises(NotApproved, match="nobody has answered yet"):
        release(there.ws, judged, JUNE)
    record_answer(there.ws, approval(judged, approved=False), JUNE)
    with pytest.raises(NotApproved, match="ada said no: seen"):
        release(there.ws, judged, JUNE)
    record_answer(there.ws, approval(judged), JUNE)
    assert release(there.ws, judged, JUNE).version == judged.version


def test_an_approval_is_about_one_opponent(there: Next) -> None:
    judged = there.ws.state().judged[-1]
    record_answer(there.ws, approval(judged.model_copy(update={"against_version": 7})), JUNE)
    with pytest.raises(NotApproved):
        release(there.ws, judged, JUNE)


def test_where_approval_is_automatic_the_gate_alone_decides(there: Next) -> None:
    automatic = Workspace(there.ws.use_case, there.ws.settings.model_copy(update={"approval": "automatic"}))
    assert release(automatic, automatic.state().judged[-1], JUNE).version == 1


def test_what_the_gate_refused_at_home_goes_nowhere(after: Next, shop: Shop) -> None:
    poor = shop.plant(with_labels(lambda y, x: 1 - y))
    version = shop.ws.state().registered[poor.model].version
    with pytest.raises(NotPromotable, match=f"Version {version} .* did not pass the gate there, which is due"):
        after.promote(version)
    judge_challenger(shop.ws, poor, MAY)
    with pytest.raises(NotPromotable, match="said FAIL"):
        after.promote(version)
    assert after.ws.state().promoted == {}


def test_what_passed_at_home_and_is_worse_here_is_refused_by_the_gate_here(before: Next) -> None:
    for month in (*MONTHS, "2024-05"):
        write_month(before.ws.use_case.folder, month, 400, seed=7, shuffled=True)
    deliver(before.ws, *MONTHS, "2024-05")
    judged = before.judge(before.promote())
    assert judged.verdict.answer is not Answer.PASS
    assert before.source.state().judged[-1].verdict.answer is Answer.PASS


def test_a_tampered_artifact_is_refused_and_written_down(after: Next) -> None:
    digest = after.source.state().trained[-1].model
    file = next(one for one in after.source.store.list(f"models/{digest}") if "golden" in one)
    place = Path(after.source.store.uri(file))
    place.write_bytes(place.read_bytes() + b" ")
    with pytest.raises(NotPromotable, match=r"was changed|has .* bytes"):
        after.promote()
    [refused] = after.ws.state().promotions_refused
    assert (refused.source, refused.version) == ("test", 1)
    assert not after.ws.store.exists(f"models/{digest}/manifest.json")
    with pytest.raises(NotPromotable):
        after.promote()
    assert len(after.ws.state().promotions_refused) == 1


def test_a_damaged_copy_is_not_taken_for_the_model(after: Next) -> None:
    promoted = after.promote()
    file = Path(after.ws.store.uri(f"models/{promoted.model}/golden.json"))
    file.write_bytes(file.read_bytes().replace(b"0.", b"1."))
    with pytest.raises(NotPromotable, match="changed after the training"):
        after.promote()


def test_without_data_of_its_own_the_new_place_cannot_judge(before: Next) -> None:
    with pytest.raises(
        NotPromotable, match=r"`next` has too little to judge it on: .* labelled rows in the fit window"
    ):
        before.promote()
    assert before.ws.state().promoted == {}


@pytest.mark.long
def test_too_few_rows_are_never_a_pass_and_more_of_them_are_judged_anew(after: Next) -> None:
    demanding = after.ws.use_case.gate.model_copy(update={"min_rows": 100_000})
    patient = Workspace(after.ws.use_case.model_copy(update={"gate": demanding}), after.ws.settings)
    wary = Next(patient, after.source)
    judged = wary.judge(promoted := wary.promote())
    assert judged.verdict.answer is Answer.INCONCLUSIVE
    assert wary.promote() == wary.ws.state().promoted[judged.model]
    write_month(after.ws.use_case.folder, "2024-06", 400, seed=60)
    deliver(after.ws, "2024-06")
    july = JUNE.replace(month=7)
    again = receive_model(after.ws, after.source, None, july)
    assert again.trained.labels != promoted.trained.labels and after.ws.state().verdicts_on(again.model) == []
    assert judge_challenger(after.ws, again.trained, july).verdict.answer is Answer.PASS


def test_a_changed_gate_judges_what_was_promoted_again(after: Next) -> None:
    demanding = after.ws.use_case.gate.model_copy(update={"floor": 0.99})
    strict = Workspace(after.ws.use_case.model_copy(update={"gate": demanding}), after.ws.settings)
    assert Next(strict, after.source).judge(after.promote()).verdict.answer is Answer.FAIL
    write_month(after.ws.use_case.folder, "2024-06", 400, seed=60)
    deliver(after.ws, "2024-06")
    july = JUNE.replace(month=7)
    again = receive_model(after.ws, after.source, None, july)
    assert again.trained.holdout.end > JUNE
    assert judge_challenger(after.ws, again.trained, july).verdict.answer is Answer.PASS


def test_what_was_withdrawn_is_not_promoted(after: Next, shop: Shop) -> None:
    worse = shop.plant()
    shop.record(
        Judged(
            model=worse.model,
            version=shop.ws.state().registered[worse.model].version,
            against=shop.trained.model,
            against_version=1,
            verdict=Verdict(answer=Answer.PASS, reasons=("by hand",)),
        )
    )
    predict(shop.ws, Period.parse("2024-04"), MAY)
    shop.serve(worse)
    rollback(shop.ws, "it scored nonsense", MAY)
    with pytest.raises(NotPromotable, match="was withdrawn there: it scored nonsense"):
        after.promote(shop.ws.state().registered[worse.model].version)


def test_the_champion_of_the_source_is_the_default_and_a_missing_version_is_named(after: Next, shop: Shop) -> None:
    with pytest.raises(NothingToPromote, match=r"no version 9 in `test`. There are: 1"):
        after.promote(9)
    with pytest.raises(SameEnvironment):
        receive_model(shop.ws, shop.ws, None, JUNE)
    with pytest.raises(NothingToPromote, match="serves in `next` yet"):
        receive_model(shop.ws, after.ws, None, JUNE)


def test_a_promoted_model_can_be_promoted_on_with_all_its_stations(there: Next, tmp_path: Path) -> None:
    judged = there.ws.state().judged[-1]
    record_answer(there.ws, approval(judged), JUNE)
    release(there.ws, judged, JUNE)
    last = Next(at(tmp_path, tmp_path / "use_cases", "last"), there.ws)
    deliver(last.ws, *MONTHS, "2024-05")
    promoted = last.promote()
    assert [(one.environment, one.version) for one in promoted.stations] == [("test", 1), ("next", 1)]
    assert promoted.trained_at == MAY
    assert promoted.trained.holdout == there.ws.state().promoted[judged.model].trained.holdout
