"""A service on a cluster over real HTTP: newer code gets to answer, or is taken back, and nothing that fails is lost.

Runs on the emulation, and on a real cluster where `PERENNIAL_TEST_CLUSTER` names one; what only an emulation can be
made to do is left out there.
"""

import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from perennial.hosted import hostings
from perennial.hosting.cluster import Cluster
from perennial.hosting.errors import ClusterAway, ClusterRefused, NotHosted, Superseded
from perennial.hosting.following import READY_WITHIN
from perennial.release.releases import next_release
from perennial.values import Answer, Verdict
from perennial.workspace import Workspace
from tests.deployments.kubernetes.controller import is_ready
from tests.deployments.kubernetes.emulation import Api
from tests.deployments.kubernetes.world import (
    CONTEXT,
    DEPLOYER,
    IMAGES,
    PATIENCE,
    SLUG,
    STEPS,
    World,
    backends,
    configuration,
    shop,
    traffic,
    watching,
    world,
)
from tests.servers import until

pytestmark = pytest.mark.long
emulated = pytest.mark.skipif(bool(CONTEXT), reason="a real cluster is not asked to fail so")
CANARY = f"{SLUG}-canary"


@pytest.fixture
def direct(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


@pytest.fixture
def trying(tmp_path: Path) -> Iterator[World]:
    """A world in which an image runs and newer ones are tried first."""
    with world(tmp_path, "canary") as made:
        made.host("good")
        yield made


def test_the_first_image_runs_at_once(direct: World) -> None:
    hosted = direct.host("good")
    assert hosted.verdict.answer is Answer.PASS
    assert direct.kinds() == ["started", "ended"]
    assert direct.image() == "good"
    assert until(PATIENCE, lambda: len(direct.ready()) == 2)
    for kind in ("Service", "HorizontalPodAutoscaler", "PodDisruptionBudget"):
        assert direct.cluster.get(kind, SLUG)


def test_asking_again_changes_nothing(direct: World) -> None:
    direct.host("good")
    until(PATIENCE, lambda: len(direct.ready()) == 2)
    before = direct.deployment()
    again = direct.host("good")
    assert (again.is_settled, again.mended) == (True, [])
    assert direct.kinds() == ["started", "ended"]
    after = direct.deployment()
    assert before and after
    assert after["metadata"]["generation"] == before["metadata"]["generation"]


def test_newer_code_takes_over_without_a_gap(direct: World) -> None:
    direct.host("good")
    until(PATIENCE, lambda: len(direct.ready()) == 2)
    with watching(lambda: len(direct.ready())) as seen:
        assert direct.host("better").verdict.answer is Answer.PASS
    assert direct.image() == "better"
    assert min(seen) >= 2
    assert hostings(direct.ws.journal.entries()).current.image.endswith(":better")  # type: ignore[union-attr]


def test_what_the_service_is_told_is_rolled_out_like_code(direct: World) -> None:
    direct.host("good")
    direct.host("good", storage_endpoint="http://other:9000")
    assert direct.kinds() == ["started", "ended"] * 2
    found = direct.deployment()
    assert found
    told = {one["name"]: one.get("value") for one in found["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert told["PERENNIAL_STORAGE_ENDPOINT"] == "http://other:9000"


@pytest.mark.parametrize(("image", "why"), [("crashing", "crashes again and again"), ("never-ready", "never ready")])
def test_what_does_not_come_up_is_taken_back_and_the_old_answers_all_along(direct: World, image: str, why: str) -> None:
    direct.host("good")
    direct.later = timedelta(minutes=6) if image == "never-ready" else direct.later
    with watching(lambda: len(direct.ready())) as seen, pytest.raises(NotHosted, match=why):
        direct.host(image)
    assert min(seen) >= 2
    assert direct.image() == "good"
    assert direct.records()[-1].verdict.answer is Answer.FAIL
    assert until(PATIENCE, lambda: len(direct.pods()) == 2 and len(direct.ready()) == 2)


def test_an_image_that_never_came_is_not_condemned_and_the_old_answers_all_along(direct: World) -> None:
    direct.host("good")
    with watching(lambda: len(direct.ready())) as seen, pytest.raises(NotHosted, match=r"cannot get.*asked for again"):
        direct.outlast(direct.follower("unpullable"), "cannot get")
    assert min(seen) >= 2
    assert direct.image() == "good"
    assert direct.records()[-1].verdict.answer is Answer.INCONCLUSIVE


@emulated
@pytest.mark.parametrize(("trouble", "why"), [("unpullable", "cannot get"), ("keyless", "secret")])
def test_a_first_image_that_waits_in_vain_leaves_nothing_and_runs_when_it_can(
    direct: World, trouble: str, why: str
) -> None:
    direct.api.behaviours[f"{IMAGES}:good"] = trouble
    with pytest.raises(NotHosted, match=rf"{why}.*nothing is left"):
        direct.outlast(direct.follower("good"), why)
    assert [direct.api.names(one) for one in ("deployments", "services", "horizontalpodautoscalers")] == [[]] * 3
    direct.api.behaviours.clear()
    assert direct.host("good").verdict.answer is Answer.PASS


def test_a_first_image_that_crashes_leaves_nothing(direct: World) -> None:
    with pytest.raises(NotHosted, match="crashes again and again"):
        direct.host("crashing")
    assert direct.deployment() is None
    assert direct.cluster.get("Service", SLUG) is None
    with pytest.raises(NotHosted, match="taken back before"):
        direct.host("crashing")


def test_what_was_taken_back_is_not_tried_again(direct: World) -> None:
    direct.host("good")
    with pytest.raises(NotHosted):
        direct.host("crashing")
    entries = len(direct.ws.journal.entries())
    with pytest.raises(NotHosted, match="taken back before"):
        direct.host("crashing")
    assert len(direct.ws.journal.entries()) == entries
    assert direct.host("better").verdict.answer is Answer.PASS


@emulated
def test_pods_that_are_ending_are_not_held_against_what_comes_after_them(direct: World, tmp_path: Path) -> None:
    """Another journal counts anew, so that what is left of the first 1 is labelled as the second is."""
    direct.api.grace = 3600
    with pytest.raises(NotHosted, match="crashes again and again"):
        direct.host("crashing")
    ending = direct.cluster.list("Pod", {})["items"]
    assert ending and direct.pods() == []
    direct.ws = shop(tmp_path / "other", "direct")
    direct.api.behaviours[f"{IMAGES}:good"] = "never-ready"
    assert direct.follower("good").step(direct.clock()).verdict.answer is Answer.INCONCLUSIVE
    direct.api.behaviours.clear()
    assert direct.host("good").verdict.answer is Answer.PASS


@emulated
def test_a_cluster_is_clean_when_no_pod_is_left(direct: World) -> None:
    direct.host("good")
    direct.api.grace = 0.5
    direct.clean()
    assert direct.api.names("pods") == []


def test_a_release_names_the_image_that_runs_and_not_one_that_was_taken_back(direct: World) -> None:
    pinned = direct.ws.settings.model_copy(update={"serving_image": f"{IMAGES}:crashing", "work_pool": "kubernetes"})

    def image() -> str | None:
        ws = Workspace(direct.ws.use_case, pinned)
        return next_release(ws, ws.journal.entries(), "0" * 64, 2, "Better.").image

    assert image() == f"{IMAGES}:crashing", "nothing else is known yet"
    direct.host("good")
    with pytest.raises(NotHosted):
        direct.host("crashing")
    assert image() == f"{IMAGES}:good"


def test_a_canary_gets_its_shares_by_the_verdict_and_then_everything(trying: World) -> None:
    follower, shares = trying.follower("better"), list[int]()

    def look() -> bool:
        found = follower.step(trying.clock())
        canary = trying.deployment(CANARY)
        shares.extend([canary["spec"]["replicas"]] if canary else [])
        return found.is_settled

    with traffic(trying):
        assert until(2 * PATIENCE, look)
    assert list(dict.fromkeys(shares)) == [1, 2]
    advanced = [one.verdict.numbers["release"] for one in trying.records() if one.kind == "hosting.advanced"]
    assert advanced == [1, 1]
    assert trying.kinds() == ["started", "ended", "started", "advanced", "advanced", "ended"]
    assert trying.image() == "better"
    assert trying.deployment(CANARY) is None


def test_a_canary_stays_until_the_others_run_the_same(trying: World) -> None:
    """While they are changed, as many answer as before; then those of the canary are too many."""
    with traffic(trying):
        follower = trying.follower("better")
        until(PATIENCE, lambda: follower.step(trying.clock()) and trying.kinds()[-2:] == ["advanced"] * 2)
        assert trying.image() == "better"
        least = len(trying.ready())
        with watching(lambda: (len(trying.ready()), trying.kinds()[-1])) as seen:
            assert until(PATIENCE, lambda: follower.step(trying.clock()).is_settled)
    assert least == 4
    assert min(count for count, last in seen if last == "advanced") == least
    assert trying.deployment(CANARY) is None


@emulated
def test_beside_a_canary_nothing_is_taken_from_the_others(trying: World) -> None:
    edit(trying, {"spec": {"replicas": 5}})
    trying.follower("better").step(trying.clock())
    assert trying.api.get("horizontalpodautoscalers", SLUG)["spec"]["minReplicas"] == 5
    with traffic(trying):
        trying.host("better")
    assert trying.api.get("horizontalpodautoscalers", SLUG)["spec"]["minReplicas"] == 2


def test_a_step_that_was_decided_on_an_older_journal_is_not_taken(trying: World) -> None:
    """One follower judges and sleeps; meanwhile another gets to `everywhere`, and stays there."""
    with traffic(trying):
        one, other = trying.follower("better"), trying.follower("better")
        until(PATIENCE, lambda: one.step(trying.clock()).verdict.numbers.get("answers"))
        judge = one._judge

        def judge_and_sleep(*given: Any) -> Verdict:
            verdict: Verdict = until(PATIENCE, lambda: one if (one := judge(*given)).answer is Answer.PASS else None)
            until(PATIENCE, lambda: other.step(trying.clock()) and trying.kinds()[-2:] == ["advanced"] * 2)
            return verdict

        one._judge = judge_and_sleep  # type: ignore[method-assign]
        assert one.step(trying.clock()).verdict.answer is Answer.PASS
        assert trying.kinds() == ["started", "ended", "started", "advanced", "advanced"]
        assert hostings(trying.ws.journal.entries()).trial.share is None  # type: ignore[union-attr]


@emulated
def test_what_is_another_use_cases_is_left_alone(trying: World) -> None:
    """A use case from before its name was reserved."""
    own = {"app.kubernetes.io/name": CANARY, "app.kubernetes.io/part-of": "perennial"}
    for plural in ("deployments", "services"):
        spec = trying.api.get(plural, SLUG)["spec"]
        trying.api.put((plural, "perennial-test", CANARY), {"metadata": {"labels": own}, "spec": spec}, "somebody")
    trying.host("good")
    assert [CANARY in trying.api.names(plural) for plural in ("deployments", "services")] == [True, True]


def test_a_canary_that_fails_is_taken_back_and_the_others_were_never_touched(trying: World) -> None:
    until(PATIENCE, lambda: len(trying.ready()) == 2)
    before = trying.ready()
    with traffic(trying, errors=0.5), pytest.raises(NotHosted, match="failed"):
        trying.host("better")
    assert trying.kinds()[-2:] == ["started", "ended"]
    assert trying.image() == "good"
    assert until(PATIENCE, lambda: trying.ready() == before)
    assert trying.deployment(CANARY) is None


@emulated
@pytest.mark.parametrize("lives", [True, False])
@pytest.mark.parametrize(("image", "why"), [("crashing", "taken back before"), ("unpullable", "does not run")])
def test_what_is_taken_back_while_the_cluster_is_away_leaves_it_all_the_same(
    trying: World, image: str, why: str, lives: bool
) -> None:
    """Whoever took it back looks again, or died and the next mends what is left before it asks or refuses."""
    follower = trying.follower(image)
    follower.step(trying.clock())
    append = follower._append

    def append_and_lose_the_cluster(*given: Any) -> bool:
        trying.api.fail("PATCH", "deployments", 403, times=1)
        return append(*given)

    follower._append = append_and_lose_the_cluster  # type: ignore[method-assign]
    with pytest.raises(ClusterRefused):
        trying.outlast(follower, "cannot get")
    assert trying.kinds()[-1] == "ended"
    assert trying.deployment(CANARY)
    if lives or image == "crashing":
        with pytest.raises(NotHosted, match=why):
            (follower if lives else trying.follower(image)).step(trying.clock())
    else:
        trying.host("good")
    assert trying.deployment(CANARY) is None


def test_without_requests_a_canary_waits_and_is_taken_back_at_the_deadline(trying: World) -> None:
    follower = trying.follower("better")
    until(PATIENCE, lambda: follower.step(trying.clock()) and len(trying.ready()) == 3)
    assert follower.step(trying.clock()).verdict.answer is Answer.INCONCLUSIVE
    deadline = trying.records()[-1].deadline
    with pytest.raises(NotHosted, match="deadline"):
        follower.step(deadline)
    assert trying.records()[-1].verdict.answer is Answer.INCONCLUSIVE
    assert trying.deployment(CANARY) is None
    assert trying.image() == "good"


def test_a_manual_edit_is_told_and_taken_back(direct: World) -> None:
    direct.host("good")
    edit(direct, {"spec": {"template": {"spec": {"containers": [{"name": "serving", "image": "by:hand"}]}}}})
    assert direct.image() == "hand"
    direct.host("good")
    assert any("changed by somebody else" in told and "kubectl-edit" in told for told in direct.told)
    assert direct.image() == "good"


SIDECAR = {"name": "sidecar", "image": "by:hand"}
VARIABLE = {"name": "PERENNIAL_SERVING_RATE_OF_MINE", "value": "1"}
ADDED: dict[str, dict[str, object]] = {
    "containers[sidecar]": {"containers": [SIDECAR]},
    "containers[serving].env[PERENNIAL_SERVING_RATE_OF_MINE]": {"containers": [{"name": "serving", "env": [VARIABLE]}]},
    "initContainers": {"initContainers": [SIDECAR]},
    "volumes[more]": {"volumes": [{"name": "more", "emptyDir": {}}]},
    "hostNetwork": {"hostNetwork": True},
}
ON = {"initContainers": emulated}  # which admission refuses to the account that the tests have on a real cluster


@pytest.mark.parametrize("what", [pytest.param(one, marks=ON.get(one, ())) for one in ADDED])
def test_what_is_added_by_hand_is_told_and_taken_out(direct: World, what: str) -> None:
    """No field of ours is changed by it, so that a cluster sees no conflict."""
    direct.host("good")
    before = direct.pod()
    edit(direct, {"spec": {"template": {"spec": ADDED[what]}}})
    assert direct.pod() != before
    direct.host("good")
    assert [one for one in direct.told if "by somebody else" in one and f"`kubectl-edit` added `{what}" in one]
    assert direct.pod() == before
    assert direct.host("good").mended == []


def test_what_is_written_on_a_deployment_and_not_run_may_stay(direct: World) -> None:
    """As `kubectl rollout restart` does."""
    direct.host("good")
    edit(direct, {"spec": {"template": {"metadata": {"annotations": {"restartedAt": "now"}}}}})
    assert direct.host("good").mended == []
    found = direct.deployment()
    assert found and found["spec"]["template"]["metadata"]["annotations"] == {"restartedAt": "now"}


@emulated
@pytest.mark.parametrize(("trouble", "later"), [("crashing", 0), ("slow-to-come", 2)])
def test_what_ran_well_and_does_no_more_is_told_and_nothing_is_changed(direct: World, trouble: str, later: int) -> None:
    direct.host("good")
    assert until(PATIENCE, lambda: len(direct.ready()) == 2)
    before, follower = direct.kinds(), direct.follower("good")
    direct.api.behaviours[f"{IMAGES}:good"] = trouble
    if later:
        follower.step(direct.clock())
        edit(direct, {"spec": {"replicas": 99}})
    with pytest.raises(NotHosted, match="ran well and does not any more"):
        until(PATIENCE, lambda: follower.step(direct.clock() + later * READY_WITHIN) and False)
    assert direct.kinds() == before
    assert direct.image() == "good"


def test_the_number_of_pods_is_not_ours(direct: World) -> None:
    direct.host("good")
    edit(direct, {"spec": {"replicas": 3}})
    assert direct.host("good").mended == []
    found = direct.deployment()
    assert found
    assert found["spec"]["replicas"] == 3


def edit(world: World, change: dict[str, object]) -> None:
    """Change the Deployment as `kubectl edit` does."""
    if world.fake:
        world.fake.patch("deployments", SLUG, change, "kubectl-edit")
        return
    query = {"fieldManager": "kubectl-edit"}
    path = world.cluster._path("Deployment", SLUG)
    world.cluster._wait(world.cluster._ask("PATCH", path, query, change, "application/strategic-merge-patch+json"))


def test_a_run_that_died_is_gone_on_with_by_the_next(trying: World) -> None:
    with traffic(trying):
        first = trying.follower("better")
        until(PATIENCE, lambda: first.step(trying.clock()) and trying.kinds()[-1] == "advanced")
        trying.host("better")
    assert trying.kinds() == ["started", "ended", "started", "advanced", "advanced", "ended"]


def test_the_newest_that_was_asked_for_wins(trying: World) -> None:
    older = trying.follower("better")
    older.step(trying.clock())
    with traffic(trying):
        trying.host("best")
    with pytest.raises(Superseded, match="Hosting 3"):
        older.step(trying.clock())
    assert trying.image() == "best"


@emulated
def test_a_gateway_shares_by_weight(trying: World) -> None:
    trying.host("good", serving_gateway="gateways/public")
    with traffic(trying):
        trying.host("better", serving_gateway="gateways/public")
    routes = [one for _, _, (plural, *_), one in trying.api.events if plural == "httproutes"]
    seen = list(dict.fromkeys(tuple(each["weight"] for each in backends(one)) for one in routes))
    assert seen == [(100,), (100, 0), *((100 - round(100 * one), round(100 * one)) for one in STEPS)]
    assert trying.weights() == [100]
    assert trying.cluster.get("Service", f"{SLUG}-stable")
    assert trying.cluster.get("Service", CANARY) is None


@emulated
@pytest.mark.parametrize("image", ["slow", "crashing"])
def test_a_gateway_sends_nothing_where_nobody_answers(trying: World, image: str) -> None:
    with traffic(trying), watching(lambda: starving(trying.api)) as seen, suppress(NotHosted):
        trying.host(image, serving_gateway="gateways/public")
    assert trying.kinds()[-1] == "ended"
    assert max(seen) == 0


@emulated
def test_a_canary_that_answers_no_more_gets_no_requests_until_it_does(trying: World) -> None:
    follower = trying.follower("better", serving_gateway="gateways/public")

    def weights() -> list[int]:
        follower.step(trying.clock())
        return trying.weights()

    assert weights() == [100, 0]
    assert until(PATIENCE, lambda: weights() == [75, 25])
    trying.api.behaviours[f"{IMAGES}:better"] = "never-ready"
    assert until(PATIENCE, lambda: weights() == [100, 0])
    trying.api.behaviours.clear()
    assert until(PATIENCE, lambda: weights() == [75, 25])


def starving(api: Api) -> int:
    """How many of a hundred requests a gateway sends to a service that has no pod that is ready."""
    with api.changed:
        pods = [one for (kind, *_), one in api.objects.items() if kind == "pods"]
        ready = [one["metadata"]["labels"] for one in pods if is_ready(one)]
        asked = backends(api.objects.get(("httproutes", "perennial-test", SLUG)))
        chosen = {one["name"]: api.get("services", one["name"])["spec"]["selector"] for one in asked}
        lost = [one for one in asked if not any(chosen[one["name"]].items() <= labels.items() for labels in ready)]
        return sum(one["weight"] for one in lost)


@emulated
@pytest.mark.parametrize("code", [409, 429, 500, 503])
def test_a_busy_cluster_is_asked_again(direct: World, code: int) -> None:
    faults = [direct.api.fail(method, "deployments", code, times=2) for method in ("PATCH", "GET")]
    assert direct.host("good").verdict.answer is Answer.PASS
    assert [one.times for one in faults] == [0, 0]


@emulated
def test_a_cluster_that_asks_for_time_gets_it(direct: World) -> None:
    direct.api.fail("PATCH", "deployments", 429, retry_after="1")
    started = monotonic()
    direct.follower("good").step(direct.clock())
    assert monotonic() - started >= 1


@emulated
def test_a_cluster_that_stays_away_is_told_and_nothing_is_lost(direct: World) -> None:
    direct.api.fail("GET", "deployments", 429, times=99, retry_after="0.01")
    with pytest.raises(ClusterAway, match="429"):
        direct.host("good")
    direct.api.faults.clear()
    assert direct.host("good").verdict.answer is Answer.PASS
    assert direct.kinds() == ["started", "ended"]


@emulated
def test_watches_that_break_off_or_are_too_old_lose_nothing(direct: World) -> None:
    direct.host("good")
    direct.api.is_dropping = True
    assert direct.host("slow-one").verdict.answer is Answer.PASS
    direct.api.is_dropping = False
    ending = threading.Event()

    def compact() -> None:
        while not ending.wait(0.02):
            direct.api.compact()

    thread = threading.Thread(target=compact, daemon=True)
    thread.start()
    try:
        assert direct.host("slow-two").verdict.answer is Answer.PASS
    finally:
        ending.set()
        thread.join()
    assert direct.api.watches >= 2


@emulated
def test_a_change_ends_the_wait(direct: World) -> None:
    direct.host("good")
    until(PATIENCE, lambda: len(direct.ready()) == 2)
    version = direct.cluster.list("Pod", {})["metadata"]["resourceVersion"]
    threading.Timer(
        0.3, lambda: direct.api.patch("pods", direct.ready()[0], {"metadata": {"labels": {"a": "b"}}}, "")
    ).start()
    assert direct.cluster.wait_for_change({"app.kubernetes.io/name": SLUG}, version, PATIENCE)
    assert not direct.cluster.wait_for_change({"app.kubernetes.io/name": "nobody"}, version, 1)


@emulated
@pytest.mark.parametrize(("code", "asked", "least"), [(429, "2", 2), (403, "", 1), (503, "", 1)])
def test_a_watch_that_is_refused_is_not_asked_for_again_at_once(
    direct: World, code: int, asked: str, least: float
) -> None:
    """What may have been missed meanwhile is seen by the list that follows."""
    direct.api.fail("GET", "pods", code, retry_after=asked)
    began = monotonic()
    assert direct.cluster.wait_for_change({"app.kubernetes.io/name": SLUG}, "1", 1)
    assert monotonic() - began >= least
    direct.api.fail("GET", "pods", 410)
    began = monotonic()
    assert direct.cluster.wait_for_change({"app.kubernetes.io/name": SLUG}, "1", 60)
    assert monotonic() - began < 60


@emulated
@pytest.mark.parametrize(("code", "why"), [(403, "refused: 403"), (422, "refused: 422")])
def test_what_a_cluster_refuses_is_not_tried_again(direct: World, code: int, why: str) -> None:
    fault = direct.api.fail("PATCH", "deployments", code, times=5)
    with pytest.raises(ClusterRefused, match=why):
        direct.host("good")
    assert fault.times == 4


@emulated
def test_a_cluster_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perennial.hosting.cluster.TRIES", 2)
    with Cluster("perennial-test", configuration("http://127.0.0.1:9")) as cluster, pytest.raises(ClusterAway):
        cluster.get("Deployment", SLUG)


@emulated
def test_the_account_may_what_hosting_asks_for_and_no_more(direct: World) -> None:
    """Everything is made, looked at, waited for and taken away again."""
    with pytest.raises(NotHosted, match="crashes again and again"):
        direct.host("crashing", serving_gateway="gateways/public")
    assert direct.api.rights == DEPLOYER.rights


def test_a_start_is_decided_once(trying: World) -> None:
    """Two processes that ask for the same image at once make one record."""
    first, second = trying.follower("better"), trying.follower("better")
    now = datetime.now(UTC)
    threads = [threading.Thread(target=one.step, args=(now,)) for one in (first, second)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert trying.kinds().count("started") == 2
