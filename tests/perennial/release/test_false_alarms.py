"""How often the decision itself refuses an equally good version, lived through by `make simulation`'s own code.

Here in the plainest world and in the two that are hardest; `make simulation` lives through all, and fails like this.
"""

import pytest

from tests.benchmarks.rollout_simulation import ALPHA, EQUAL, WORSE, World, refusals, share

worlds = pytest.mark.parametrize("world", [EQUAL[0], EQUAL[6], EQUAL[-1]], ids=lambda world: world.name)


@worlds
def test_an_equally_good_version_is_seldom_refused_however_often_one_looks(world: World) -> None:
    assert share(refusals(world, 20)) <= 3 * ALPHA


def test_a_version_that_is_clearly_worse_is_refused_soon() -> None:
    for name in ("30% of the answers fail", "50% of the answers are slow", "the loss is higher by 0.4"):
        [world] = [one for one in WORSE if one.name == name]
        assert all(after is not None and after <= 200 for after in refusals(world, 5)), name


@pytest.mark.long
@worlds
def test_of_a_thousand_trials_no_more_than_alpha_are_refused(world: World) -> None:
    assert share(refusals(world, 1000, workers=2)) <= ALPHA
