"""A process that ends with the one that started it, so that a killed supervisor leaves nobody on its address."""

import os
import signal
from threading import Thread
from time import sleep

EVERY = 1.0
"""Seconds between two looks."""


def end_with_parent() -> None:
    """End this process as by SIGTERM soon after its parent has ended."""
    Thread(target=_watch, args=(os.getppid(),), name="parent", daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        sleep(EVERY)
    os.kill(os.getpid(), signal.SIGTERM)
