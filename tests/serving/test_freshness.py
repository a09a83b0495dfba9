"""Features become fresher while a version answers, whatever else does not load; a failure is tried ever more rarely."""

from typing import Any

import pytest

from serving import freshness as freshness_module
from serving import versions
from serving.answering import Lineup
from serving.clock import now
from serving.freshness import FRESH, Freshness
from serving.loading import load
from serving.replica import Replica
from tests.perennial.release.conftest import Shop, with_labels
from tests.servers import until


def test_while_a_newer_release_is_refused_the_features_of_the_old_one_become_fresher(
    shop: Shop, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(versions, "PATIENCE", (3600.0,))
    shop.serve(shop.trained)
    until(60, lambda: replica.is_ready)
    broken = shop.plant(with_labels(lambda y, x: 1 - y))
    shop.ws.store.put(f"models/{broken.model}/model.ubj", b"{L something else }")
    shop.serve(broken)
    until(60, lambda: "release/2" in replica.report().refused)
    before = replica.report()
    monkeypatch.setattr(freshness_module, "FRESH", 0.0)
    until(60, lambda: replica.report().features_at != before.features_at)
    assert replica.report().release == 1 and replica.report().refused == before.refused


def test_features_that_cannot_be_made_are_tried_ever_more_rarely_and_told(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    shop.serve(shop.trained)
    state, seconds, tries = shop.ws.state(), [0.0], list[float]()
    for module in (freshness_module, versions):
        monkeypatch.setattr(module, "monotonic", lambda: seconds[0])
    lineup, freshness = (
        Lineup(1, load(shop.ws, state, shop.trained.model, 1, now()), now()),
        Freshness(shop.ws, "a", now),
    )
    assert not freshness.is_due(state, lineup)

    def fail(*_: Any) -> None:
        tries.append(seconds[0])
        raise OSError("No answer.")

    with monkeypatch.context() as away:
        away.setattr(freshness_module, "refresh", fail)
        for seconds[0] in range(int(FRESH), int(FRESH) + 100):
            if freshness.is_due(state, lineup):
                assert freshness.refreshed(state, lineup) is None
    assert [one - FRESH for one in tries] == [1, 3, 8, 23, 83]
    assert freshness.trouble.now == "OSError: No answer." and "features.kept" in capfd.readouterr().err
    seconds[0] = FRESH + 200
    assert freshness.refreshed(state, lineup)
    assert freshness.trouble.now is None and freshness.is_due(state, lineup), "nobody has swapped them in"
    freshness.installed()
    assert not freshness.is_due(state, lineup)
