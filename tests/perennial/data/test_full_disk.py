import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
MOUNT = 'mount -t tmpfs -o size=8m tmpfs "$0" && exec "$@"'


def may_mount(folder: Path) -> bool:
    tried = ["unshare", "-rm", "sh", "-c", MOUNT, str(folder), "true"]
    try:
        return subprocess.run(tried, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("way", ["tmpfs", "limit"])
def test_a_full_disk_leaves_nothing_half_done_and_running_again_ends_well(tmp_path: Path, way: str) -> None:
    command = [sys.executable, "-m", "tests.perennial.data.full_disk", str(tmp_path), way]
    if way == "tmpfs":
        if not may_mount(tmp_path):
            pytest.skip("this machine lets nobody mount a file system of his own")
        command = ["unshare", "-rm", "sh", "-c", MOUNT, str(tmp_path), *command]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    stages = json.loads(result.stdout)
    assert stages[0] == "receive"
    assert {"receive", "accept"} <= set(stages)
