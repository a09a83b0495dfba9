"""A key stays with its arm, and the arms have the sizes that they are to have."""

from collections import Counter

import pytest

from serving.arms import arm_of, is_copied

KEYS = [f'{{"order_id":"{number}"}}' for number in range(20_000)]


@pytest.mark.parametrize("share", [0.05, 0.25, 0.5])
def test_canary_and_baseline_get_the_same_share(share: float) -> None:
    sizes = Counter(arm_of(key, 1, share) for key in KEYS)
    assert sizes["canary"] / len(KEYS) == pytest.approx(share, abs=0.01)
    assert sizes["baseline"] / len(KEYS) == pytest.approx(share, abs=0.01)


def test_a_key_stays_when_the_share_grows() -> None:
    for before, after in ((0.05, 0.25), (0.25, 0.5)):
        stays = [arm_of(key, 1, before) in ("champion", arm_of(key, 1, after)) for key in KEYS]
        assert all(stays)


def test_another_rollout_places_keys_anew() -> None:
    again = [key for key in KEYS if arm_of(key, 1, 0.25) == arm_of(key, 2, 0.25) == "canary"]
    assert len(again) / len(KEYS) == pytest.approx(0.25**2, abs=0.01)


def test_all_requests_are_copied_at_a_share_of_one() -> None:
    assert all(is_copied(key, 1, 1.0) for key in KEYS)
