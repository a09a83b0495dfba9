"""How long it takes from the command to the first task of a flow, with everything that a stage imports."""

import time

import psutil
from prefect import flow, task

import flows.pipeline  # noqa: F401  what every run imports
from blocks.documents import read_settings
from blocks.local import local_run


@task
def look_at_the_clock() -> float:
    """Return the seconds since this process was started."""
    return time.time() - psutil.Process().create_time()


@flow
def first() -> float:
    """Run one task."""
    return look_at_the_clock()


if __name__ == "__main__":
    with local_run(read_settings()):
        print(first())
