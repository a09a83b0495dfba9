"""Which arm of a rollout answers a key: the same one as long as the rollout lasts; it scores nothing."""

from hashlib import blake2b

from serving.answers import Arm

STEADY = 0
"""The lane of what serves; that of a canary has the number of its rollout. Neither waits for the other."""
_PLACES = 2**64


def arm_of(key: str, rollout: int, share: float) -> Arm:
    """Return the arm of a key while a canary answers a share of the requests.

    The canary grows from one end and the baseline, equally large where there is room, from the other, so that a key
    stays with an arm when the share grows. Another rollout places the keys anew.
    """
    place = place_of(key, rollout)
    if place < share:
        return "canary"
    return "baseline" if place >= 1 - share else "champion"


def is_copied(key: str, rollout: int, share: float) -> bool:
    """Say whether a shadow gets a copy of the requests with a key."""
    return place_of(key, rollout) < share


def place_of(key: str, rollout: int) -> float:
    """Return where a key lies in [0, 1) for one rollout."""
    digest = blake2b(f"{rollout}:{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) / _PLACES
