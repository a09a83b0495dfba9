"""Whether a model may be loaded where work is done: a child process loads it and asks its golden questions.

The child may crash, hang or swell; the parent only reads its answer. How good the scores are is not asked.
"""

import contextlib
import resource
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from perennial.errors import Transient
from perennial.records import Answer, Verdict
from perennial.storage_trouble import StorageFull, StoreRefused
from perennial.store import Store

if TYPE_CHECKING:
    from perennial.model.artifact import Golden, Model
    from perennial.model.metrics import Vector

TIMEOUT = 120.0
MEMORY = 4 * 2**30
TOLERANCE = 1e-6
"""Relative to a score of 1 or more, absolute below: single-precision sums differ that much between processors."""
TOLERANCE_OF_SPREAD = 1e-4
"""Of the spread of a regression's golden answers, if that is more: a value may be much smaller than what it sums."""

_UNHEARD = "a text that no training has ever seen"


class NotProbed(Transient):
    """The store could not be read, which says nothing of the model."""


def probe_model(store: Store, digest: str, *, timeout: float = TIMEOUT, memory: int = MEMORY) -> Verdict:
    """Load a model in a child process and compare its answers with those it gave when it was made.

    Args:
        store: Where `models/` is.
        digest: The model.
        timeout: Seconds after which the child is killed.
        memory: Bytes of address space that the child may take.

    Returns:
        PASS, or FAIL with what went wrong; `largest_difference` and `rows` under `numbers`. INCONCLUSIVE where the
        child took too long or was killed, which a busy machine does as well as a model.

    Raises:
        NotProbed: The child could not read the store.
    """
    command = [sys.executable, "-m", "perennial.model.probe", store.root, store.endpoint, digest, str(memory)]
    try:
        child = subprocess.run(command, capture_output=True, timeout=timeout)  # noqa: S603
    except subprocess.TimeoutExpired:
        return _unsure(f"The model `{digest[:12]}` did not load and answer within {timeout:g} s.")
    if child.returncode < 0:
        told = _unsure if -child.returncode == signal.SIGKILL else _fail
        return told(f"Loading the model `{digest[:12]}` ended its process with {_signal(-child.returncode)}.")
    try:
        verdict = Verdict.model_validate_json(child.stdout.splitlines()[-1])
    except (IndexError, ValidationError):
        last = (child.stderr.decode(errors="replace").strip().splitlines() or ["no message"])[-1]
        return _fail(f"Loading the model `{digest[:12]}` ended its process with code {child.returncode}: {last[:500]}")
    if verdict.answer is Answer.INCONCLUSIVE:
        raise NotProbed(verdict.reasons[0])
    return verdict


def ask(store: Store, digest: str) -> Verdict:
    """Load a model in this process and compare its answers with the golden ones, coded as in training and as online."""
    from perennial.model.artifact import load_golden, load_model

    model, golden = load_model(store, digest), load_golden(store, digest)
    if otherwise := _coded_otherwise(model, golden):
        return _fail(f"Of requests `{otherwise[0]}` is coded otherwise than for the training.")
    expected = np.array([np.nan if one is None else one for one in golden.scores])
    answers = model.score(golden.table(model.encoder))
    if not len(answers) or answers.shape != expected.shape:
        return _fail(f"It gave {len(answers)} answers to {len(expected)} golden questions.")
    if not (np.isfinite(answers).all() and np.isfinite(expected).all()):
        return _fail("A score of a golden question is not finite.")
    wrong = int((~are_near(model, golden, answers, expected)).sum())
    numbers = {"rows": float(len(answers)), "largest_difference": float(np.abs(answers - expected).max())}
    if wrong:
        reason = f"{wrong} of {len(answers)} golden questions got another score than at the training."
        return Verdict(answer=Answer.FAIL, reasons=(reason,), numbers=numbers)
    reason = f"All {len(answers)} golden questions got the score of the training."
    return Verdict(answer=Answer.PASS, reasons=(reason,), numbers=numbers)


def are_near(model: "Model", golden: "Golden", scores: "Vector", expected: "Vector") -> NDArray[np.bool_]:
    """Say of each score whether it is the expected one, but for the last bits of the sums it is made of.

    These differ between processors, and between a row that is scored alone and the same row among others.
    """
    spread = golden.spread if model.estimator.task == "regression" else 0.0
    allowed = np.maximum(TOLERANCE * np.maximum(1, np.abs(expected)), TOLERANCE_OF_SPREAD * spread)
    return np.asarray(np.abs(scores - expected) <= allowed)


def _coded_otherwise(model: "Model", golden: "Golden") -> list[str]:
    """Features that the coding of requests gives another number, of the golden questions and of what nobody knows."""
    encoder = model.encoder
    unknown = {name: _UNHEARD if name in encoder.categories else None for name in encoder.features}
    rows: list[dict[str, Any]] = [*golden.rows, unknown, dict.fromkeys(encoder.features)]
    trained = model.coded(encoder.table(rows))
    asked = encoder.encode([[row[name] for name in encoder.features] for row in rows])
    columns = zip(encoder.features, trained.T, asked.T, strict=True)
    return [name for name, one, other in columns if not np.array_equal(one, other, equal_nan=True)]


def _fail(reason: str) -> Verdict:
    return Verdict(answer=Answer.FAIL, reasons=(reason,))


def _unsure(reason: str) -> Verdict:
    return Verdict(answer=Answer.INCONCLUSIVE, reasons=(reason,))


def _signal(number: int) -> str:
    return signal.Signals(number).name if number in signal.valid_signals() else f"signal {number}"


def _limit(memory: int) -> None:
    for kind, limit in ((resource.RLIMIT_AS, memory), (resource.RLIMIT_CORE, 0)):
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(kind, (limit, limit))


def _main(root: str, endpoint: str, digest: str, memory: str) -> None:
    _limit(int(memory))
    print(_verdict(root, endpoint, digest).model_dump_json())


def _verdict(root: str, endpoint: str, digest: str) -> Verdict:
    try:
        store = Store(root, endpoint)
    except Exception as error:  # the model was not even looked at
        return _unsure(f"{type(error).__name__}: {error}")
    try:
        return ask(store, digest)
    except (Transient, StoreRefused, StorageFull) as error:
        return _unsure(f"{type(error).__name__}: {error}")
    except Exception as error:
        return _fail(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    _main(*sys.argv[1:])
