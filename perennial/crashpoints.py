"""Named places where a test may end the process, as a power cut would; inert unless the environment arms one.

`PERENNIAL_CRASHPOINT=<name>` ends every process that gets there. `<name>@<file>` holds the one that takes the file
away, by SIGSTOP, so that a test can see what it was about before it ends it; all others pass.
"""

import os
import signal
from pathlib import Path

VARIABLE = "PERENNIAL_CRASHPOINT"


def crashpoint(name: str) -> None:
    """End or hold this process if `PERENNIAL_CRASHPOINT` names this place."""
    armed, _, token = os.environ.get(VARIABLE, "").partition("@")
    if armed != name:
        return
    if not token:
        os.kill(os.getpid(), signal.SIGKILL)
    try:
        Path(token).unlink()
    except FileNotFoundError:
        return
    os.kill(os.getpid(), signal.SIGSTOP)
