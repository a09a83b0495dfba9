"""How hard each kind of work is tried: retries, timeouts and caching; the only place that says so.

Only a `Transient` error is tried again, after 1, 2, 4, ... times the base delay, stretched at random so that
tasks that failed together do not come back together. Nothing is cached or persisted by Prefect: results are
references, the journal knows what is done, and hashing or storing them would cost more than finding them. Tasks
have no tags, because Prefect asks its server about the concurrency limit of each tag before each task; flow runs do.
"""

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import prefect
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import exponential_backoff

from blocks.secrets import keeping_secrets
from perennial.errors import Transient

_P = ParamSpec("_P")
_R = TypeVar("_R")
_MINUTE = 60
_HOUR = 60 * _MINUTE


def task(**policy: Any) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Make a Prefect task whose errors hold no secret; all tasks are made by it, and called like what they run."""

    def make(work: Callable[_P, _R]) -> Callable[_P, _R]:
        made: Callable[_P, _R] = prefect.task(**policy)(keeping_secrets()(work))
        return made

    return make


def is_transient(task: Any, task_run: TaskRun, state: State[Any]) -> bool:
    """Say whether a failed task may be tried again; Prefect asks this after each failure."""
    return isinstance(state.data, Transient)


def _policy(retries: int, delay: float, timeout: float) -> dict[str, Any]:
    return {
        "retries": retries,
        "retry_delay_seconds": exponential_backoff(delay),
        "retry_jitter_factor": 0.5,
        "retry_condition_fn": is_transient,
        "timeout_seconds": timeout,
        "cache_policy": NO_CACHE,
        "persist_result": False,
    }


READING = _policy(retries=5, delay=2, timeout=1 * _HOUR)
"""From a source that others own: it may be away for a minute."""

COMPUTING = _policy(retries=3, delay=0.5, timeout=6 * _HOUR)
"""On this machine: only races for the journal or a table are worth another try."""

TALKING = _policy(retries=6, delay=1, timeout=30 * _MINUTE)
"""To a service such as the registry, which may restart."""

DECIDING = _policy(retries=3, delay=0.2, timeout=5 * _MINUTE)
"""A pure decision and one record in the journal."""
