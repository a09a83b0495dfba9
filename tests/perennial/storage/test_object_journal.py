"""The journal on a real S3 API: races between processes, and answers that are lost on the way."""

import os
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from perennial.journal import Journal
from perennial.records import Entry, TrainingRefused
from perennial.store import Store, StoreAway
from tests.perennial.storage.unreliable import unreliable
from tests.storage_servers import S3

NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)
EACH = 60
APPENDER = """
import sys
from datetime import UTC, datetime
from perennial.journal import Journal
from perennial.records import TrainingRefused
from perennial.store import Store

root, endpoint, name, count = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
journal = Journal(Store(root, endpoint), "shop-returns")
print("ready", flush=True)
sys.stdin.readline()
for number in range(count):
    record = TrainingRefused(key=f"{name}-{number}", reason="raced")
    print(journal.decide(lambda entries: record, datetime(2024, 1, 1, tzinfo=UTC)).seq, flush=True)
"""


@pytest.fixture
def root(s3: S3, tmp_path: Path) -> str:
    return f"s3://perennial/{tmp_path.name}"


def a_record(key: str) -> TrainingRefused:
    return TrainingRefused(key=key, reason="too few rows")


def keys(entries: tuple[Entry, ...]) -> list[str]:
    return [entry.record.key for entry in entries if isinstance(entry.record, TrainingRefused)]


def run_appender(root: str, endpoint: str, name: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", APPENDER, root, endpoint, name, str(EACH)]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ})
    assert child.stdout is not None and child.stdout.readline() == "ready\n"
    return child


def test_two_processes_racing_appends_lose_and_double_none(root: str, s3: S3) -> None:
    racers = [run_appender(root, s3.endpoint, name) for name in ("left", "right")]
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda racer: racer.communicate("go\n")[0].split(), racers))
    entries = Journal(Store(root, s3.endpoint), "shop-returns").entries()
    assert sorted(int(seq) for answer in answers for seq in answer) == list(range(1, 2 * EACH + 1))
    assert Counter(keys(entries)) == {f"{name}-{number}": 1 for name in ("left", "right") for number in range(EACH)}


@pytest.mark.parametrize("lost", [1, 2, 100])
def test_an_append_whose_answer_was_lost_is_written_once(root: str, s3: S3, lost: int) -> None:
    with unreliable(s3.endpoint) as proxy:
        journal = Journal(Store(root, proxy.endpoint), "shop-returns")
        assert journal.append(a_record("a"), NOON, head=0).seq == 1
        proxy.lose = lost
        assert journal.append(a_record("b"), NOON, head=1).seq == 2
        assert proxy.lost
        proxy.lose = 0
        entry = journal.decide(lambda entries: a_record(f"after {len(entries)}"), NOON)
    assert entry is not None and entry.seq == 3
    assert keys(Journal(Store(root, s3.endpoint), "shop-returns").entries()) == ["a", "b", "after 2"]


def test_an_append_on_a_store_that_went_away_can_be_decided_again(root: str, s3: S3) -> None:
    with unreliable(s3.endpoint) as proxy:
        journal = Journal(Store(root, proxy.endpoint), "shop-returns")
        journal.append(a_record("a"), NOON, head=0)
    with pytest.raises(StoreAway, match="doing this again is safe"):
        journal.append(a_record("b"), NOON, head=1)
    there = Journal(Store(root, s3.endpoint), "shop-returns")
    there.decide(lambda entries: None if "b" in keys(entries) else a_record("b"), NOON)
    assert keys(there.entries()) == ["a", "b"]
