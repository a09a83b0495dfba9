"""What can go wrong with a disk or an object store, whichever library said it; it reads and writes nothing.

Object stores answer with pages that may hold the name of a key, so only their status and code are repeated.
"""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from perennial.errors import PerennialError, Permanent, Transient

_SIGNS_OF_FULL = tuple(os.strerror(code) for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
_COLOUR = re.compile(r"\x1b\[\d*m")
_STATUS = re.compile(r"status code[^0-9]*(\d{3})")
_CODE = re.compile(r"<Code>(\w+)</Code>")
_KEYS_OF_A_CLOUD = ("169.254.169.254", "/latest/api/token")
_NO_ANSWER = ("HTTP error", "error sending request", "operation timed out", "connection refused")
_MAY_PASS = ("408", "425", "429")
_AN_ANSWER = ("404", "409", "412")
"""No such object, or it exists: what the caller asked."""


class StoreAway(Transient):
    """The object store did not answer, however often it was asked, or could not work."""


class StoreRefused(Permanent):
    """The object store answered and said no: wrong keys, no such bucket, another region."""


class StorageFull(Permanent):
    """There is no space left where something was to be written."""


@contextmanager
def naming_full_storage(where: str) -> Iterator[None]:
    """Turn any library's way of saying that a disk is full into one error.

    Raises:
        StorageFull: Nothing of what was being written is visible.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, Permanent) or not any(sign in str(error) for sign in _SIGNS_OF_FULL):
            raise
        raise StorageFull(
            f"There is no space left to write `{where}`. Nothing of it is visible; free some space and run it again."
        ) from error


@contextmanager
def naming_store_trouble(where: str) -> Iterator[None]:
    """Turn any library's way of saying that an object store is away or refuses into errors that say whether to retry.

    Raises:
        StoreAway: No answer, or a status that may pass, such as 503.
        StoreRefused: Any other status, such as 403.
    """
    try:
        yield
    except PerennialError:
        raise
    except Exception as error:
        trouble = _trouble(where, _COLOUR.sub("", str(error)))
        if trouble is None:
            raise
        raise trouble from None  # its text may name a key


def _trouble(where: str, said: str) -> PerennialError | None:
    status, code = _STATUS.search(said), _CODE.search(said)
    if any(place in said for place in _KEYS_OF_A_CLOUD):
        return StoreRefused(
            f"There are no keys for `{where}`. Set `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY` (and `AWS_REGION`), "
            "or run where the cloud gives them to the machine."
        )
    if status is None:
        return _away(where, "no answer") if any(sign in said for sign in _NO_ANSWER) else None
    answer = " ".join([status[1], *([code[1]] if code else [])])
    if status[1] in _MAY_PASS or status[1].startswith("5"):
        return _away(where, f"status {answer}")
    if status[1] in ("401", "403"):
        return StoreRefused(
            f"`{where}` refused the keys of this process ({answer}). Check `AWS_ACCESS_KEY_ID` and "
            "`AWS_SECRET_ACCESS_KEY`, and that they may list, read and write there."
        )
    if code and code[1] == "NoSuchBucket":
        return StoreRefused(f"`{where}` is in a bucket that does not exist. Create it, or correct `storage_root`.")
    if status[1] in _AN_ANSWER:
        return None
    return StoreRefused(f"`{where}` was refused ({answer}). Check `storage_root`, `storage_endpoint` and `AWS_REGION`.")


def _away(where: str, how: str) -> StoreAway:
    return StoreAway(
        f"The object store of `{where}` could not answer ({how}). What is written twice is written once, so doing "
        "this again is safe; check `storage_endpoint` and the network if it stays away."
    )
