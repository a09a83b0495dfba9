"""How hard each kind of work is tried, and which kind each task is."""

import importlib
import pkgutil

import pytest
from prefect import Task
from prefect.cache_policies import NO_CACHE

import tasks
from tasks import policies

MINUTE, HOUR = 60, 3600
KINDS = {
    "READING": (5, [2, 4, 8, 16, 32], 1 * HOUR),
    "COMPUTING": (3, [0.5, 1, 2], 6 * HOUR),
    "TALKING": (6, [1, 2, 4, 8, 16, 32], 30 * MINUTE),
    "DECIDING": (3, [0.2, 0.4, 0.8], 5 * MINUTE),
}
"""Retries, seconds before each, and seconds that one attempt may take."""

WORK = {
    "READING": {"receive_delivery"},
    "COMPUTING": {
        "accept_delivery",
        "correct_predictions",
        "fit_candidate",
        "guard_release",
        "judge_challenger",
        "keep_best",
        "measure_period",
        "plan_training",
        "receive_model",
        "release_version",
        "score_period",
        "withdraw_release",
        "write_snapshot",
    },
    "TALKING": {
        "follow_rollout",
        "mend_runs",
        "project_aliases",
        "register_model",
        "start_hosting",
        "start_overdue",
        "start_validations",
        "tell_again",
    },
    "DECIDING": {"claim_retraining", "decide_on_retraining", "end_retraining", "record_answer"},
}


def all_tasks() -> dict[str, Task]:
    modules = [importlib.import_module(f"tasks.{one.name}") for one in pkgutil.iter_modules(tasks.__path__)]
    return {one.fn.__name__: one for module in modules for one in vars(module).values() if isinstance(one, Task)}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_work_has_its_own_retries_and_timeout(kind: str) -> None:
    retries, delays, timeout = KINDS[kind]
    policy = getattr(policies, kind)
    assert (policy["retries"], policy["timeout_seconds"]) == (retries, timeout)
    assert policy["retry_delay_seconds"](retries) == delays


def test_every_task_is_one_of_these_kinds() -> None:
    found = all_tasks()
    assert set(found) == set().union(*WORK.values())
    for kind, names in WORK.items():
        for name in names:
            one = found[name]
            assert (one.retries, one.retry_delay_seconds, one.timeout_seconds) == KINDS[kind], name


def test_no_task_is_cached_kept_or_tried_again_for_a_permanent_error() -> None:
    for name, one in all_tasks().items():
        assert (one.cache_policy, one.persist_result) == (NO_CACHE, False), name
        assert (one.retry_condition_fn, one.tags) == (policies.is_transient, set()), name
