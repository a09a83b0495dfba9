"""Named places where a test may end the process, as a power cut would; inert unless the environment arms one."""

import os
import signal

VARIABLE = "PERENNIAL_CRASHPOINT"


def crashpoint(name: str) -> None:
    """End this process by SIGKILL if `PERENNIAL_CRASHPOINT` names this place."""
    if os.environ.get(VARIABLE) == name:
        os.kill(os.getpid(), signal.SIGKILL)
