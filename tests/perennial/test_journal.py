"""The journal under races, lost answers, tampering and kills."""

import pickle
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from perennial.journal import BrokenJournal, Conflict, Journal, after_newest
from perennial.records import Entry, Record, TrainingRefused
from perennial.store import AlreadyThere, Store

NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)

APPENDER = """
import sys
from datetime import UTC, datetime
from perennial.journal import Journal
from perennial.records import TrainingRefused
from perennial.store import Store

root, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
journal = Journal(Store(root), "shop-returns")
print("ready", flush=True)
sys.stdin.readline()
for number in range(count):
    record = TrainingRefused(key=f"{name}-{number}", reason="raced")
    print(journal.decide(lambda entries: record, datetime(2024, 1, 1, tzinfo=UTC)).seq, flush=True)
"""


def a_record(key: str = "a") -> TrainingRefused:
    return TrainingRefused(key=key, reason="too few rows")


def keys(entries: tuple[Entry, ...]) -> list[str]:
    return [entry.record.key for entry in entries if isinstance(entry.record, TrainingRefused)]


def entry_file(root: Path, seq: int) -> Path:
    return root / "journal" / "shop-returns" / f"{seq:09d}.json"


@contextmanager
def appender(root: Path, name: str, count: int) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", APPENDER, str(root), name, str(count)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        yield process
        process.kill()


def start(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(Store(str(tmp_path)), "shop-returns")


def filled(journal: Journal, count: int) -> Journal:
    for number in range(count):
        journal.append(a_record(str(number)), NOON, head=number)
    return journal


def test_entries_are_numbered_from_one_and_chained(journal: Journal, tmp_path: Path) -> None:
    written = filled(journal, 3).entries()
    assert [entry.seq for entry in written] == [1, 2, 3]
    assert Journal(Store(str(tmp_path)), "shop-returns").entries() == written
    assert len({entry.previous for entry in written}) == 3


def test_another_view_reads_only_the_news(journal: Journal, tmp_path: Path) -> None:
    other = Journal(Store(str(tmp_path)), "shop-returns")
    assert other.entries() == ()
    filled(journal, 12)
    assert other.entries() == journal.entries()
    entry_file(tmp_path, 1).unlink()
    assert other.entries() == journal.entries()


def test_looking_again_without_news_lists_nothing(journal: Journal, tmp_path: Path) -> None:
    class Counts(Store):
        listings = 0

        def list(self, prefix: str, after: str | None = None) -> list[str]:
            self.listings += 1
            return super().list(prefix, after)

    filled(journal, 3)
    store = Counts(str(tmp_path))
    other = Journal(store, "shop-returns")
    assert len(other.entries()) == 3 and store.listings == 1
    for _ in range(5):
        assert len(other.entries()) == 3
    assert store.listings == 1, "a listing costs more the longer the journal is"
    journal.append(a_record("news"), NOON, head=3)
    assert len(other.entries()) == 4


class CountsReads(Store):
    reads = 0

    def get(self, path: str) -> bytes:
        self.reads += 1
        return super().get(path)


@pytest.fixture
def packed(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> Journal:
    """A journal of 47 entries, the first 40 of which were packed by tens."""
    monkeypatch.setattr("perennial.journal.PACK", 10)
    return filled(journal, 47)


def test_a_long_journal_is_read_by_the_thousand(packed: Journal, tmp_path: Path) -> None:
    store = CountsReads(str(tmp_path))
    assert Journal(store, "shop-returns").entries() == packed.entries()
    assert store.reads == 4 * 2 + 7, "each pack with the last entry of it, and what is not packed yet"
    other = Journal(Store(str(tmp_path)), "shop-returns")
    other.entries()
    filled_more = other.append(a_record("more"), NOON, head=47)
    assert packed.entries()[-1] == filled_more


@pytest.mark.parametrize(
    "spoil", [Path.unlink, lambda file: file.write_bytes(b"{}"), lambda file: file.write_bytes(b"")]
)
def test_a_pack_that_is_gone_or_damaged_costs_time_only_and_is_made_again(
    packed: Journal, tmp_path: Path, spoil: Callable[[Path], object]
) -> None:
    file = entry_file(tmp_path, 1).parent / "packs" / "000000020.jsonl"
    original = file.read_bytes()
    spoil(file)
    other = Journal(Store(str(tmp_path)), "shop-returns")
    assert other.entries() == packed.entries()
    file.unlink(missing_ok=True)
    for number in range(47, 50):
        other.append(a_record(str(number)), NOON, head=number)
    assert file.read_bytes() == original and len(list(file.parent.iterdir())) == 5


def test_a_pack_of_another_journal_is_not_taken_for_this_one(packed: Journal, tmp_path: Path) -> None:
    """As after a restore of older entries, without all of what lay beside them."""
    others = Store(str(tmp_path / "other"))
    restored = filled(Journal(others, "shop-returns"), 10)
    folder, place = entry_file(tmp_path, 1).parent, tmp_path / "other" / "journal" / "shop-returns" / "packs"
    for one in (folder / "packs").iterdir():
        (place / one.name).write_bytes(one.read_bytes())
    assert Journal(others, "shop-returns").entries() == restored.entries() != packed.entries()[:10]


def test_a_pack_that_cannot_be_written_keeps_nobody_from_appending(
    journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("perennial.journal.PACK", 10)
    filled(journal, 9)
    (entry_file(tmp_path, 1).parent / "packs").write_text("a file where a folder belongs")
    assert journal.append(a_record("tenth"), NOON, head=9).seq == 10
    assert len(Journal(Store(str(tmp_path)), "shop-returns").entries()) == 10


def test_journals_of_use_cases_are_apart(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    filled(Journal(store, "shop-returns"), 2)
    assert Journal(store, "shop").entries() == ()


def test_stale_head_is_refused_and_nothing_is_written(journal: Journal, tmp_path: Path) -> None:
    stale = Journal(Store(str(tmp_path)), "shop-returns")
    stale.entries()
    filled(journal, 1)
    with pytest.raises(Conflict, match=r"was decided on entry 0 .* at entry 1"):
        stale.append(a_record("late"), NOON, head=0)
    assert keys(journal.entries()) == ["0"]


def test_a_head_that_does_not_exist_yet_is_refused(journal: Journal) -> None:
    with pytest.raises(Conflict):
        journal.append(a_record(), NOON, head=1)


def test_decide_decides_again_when_somebody_came_first(journal: Journal, tmp_path: Path) -> None:
    other = Journal(Store(str(tmp_path)), "shop-returns")
    seen: list[int] = []

    def decision(entries: tuple[Entry, ...]) -> Record:
        seen.append(len(entries))
        if len(entries) == 0:
            other.append(a_record("first"), NOON, head=0)
        return a_record(f"after-{len(entries)}")

    entry = journal.decide(decision, NOON)
    assert seen == [0, 1]
    assert entry is not None and entry.seq == 2
    assert keys(journal.entries()) == ["first", "after-1"]


def test_what_was_learned_now_comes_after_all_that_was_written_until_it_is(journal: Journal, tmp_path: Path) -> None:
    other, later = Journal(Store(str(tmp_path)), "shop-returns"), NOON + timedelta(minutes=2)

    def decision(entries: tuple[Entry, ...]) -> Record:
        if len(entries) == 0:
            other.append(a_record("first"), later, head=0)
        return a_record(f"after-{len(entries)}")

    entry = journal.decide(decision, partial(after_newest, moment=NOON))
    assert entry is not None and entry.at > later
    assert after_newest(journal.entries()[:1], later) == later
    assert after_newest((), NOON) == NOON


def test_of_two_that_would_append_the_same_the_second_finds_it(journal: Journal, tmp_path: Path) -> None:
    other = Journal(Store(str(tmp_path)), "shop-returns")

    def find(entries: tuple[Entry, ...]) -> Record | None:
        return next((one.record for one in entries), None)

    def make(entries: tuple[Entry, ...]) -> Record:
        other.find_or_append(find, lambda _: a_record("the other's"), NOON)
        return a_record("mine")

    assert journal.find_or_append(find, make, NOON) == a_record("the other's")
    assert keys(journal.entries()) == ["the other's"]
    assert journal.find_or_append(lambda _: None, lambda _: a_record("mine"), NOON) == a_record("mine")
    assert keys(journal.entries()) == ["the other's", "mine"]


def test_deciding_nothing_writes_nothing(journal: Journal) -> None:
    assert journal.decide(lambda entries: None, NOON) is None
    assert journal.entries() == ()


@pytest.mark.parametrize("answer", [TimeoutError("no answer"), AlreadyThere("found on the store's own retry")])
def test_an_append_whose_answer_was_lost_counts_once(tmp_path: Path, answer: Exception) -> None:
    class LosesAnswers(Store):
        def create(self, path: str, data: bytes) -> None:
            super().create(path, data)
            raise answer

    journal = Journal(LosesAnswers(str(tmp_path)), "shop-returns")
    assert journal.append(a_record("a"), NOON, head=0).seq == 1
    entry = journal.decide(lambda entries: a_record("b"), NOON)
    assert entry is not None and entry.seq == 2
    assert keys(Journal(Store(str(tmp_path)), "shop-returns").entries()) == ["a", "b"]


def test_an_append_that_never_arrived_raises_what_the_store_said(tmp_path: Path) -> None:
    class Away(Store):
        def create(self, path: str, data: bytes) -> None:
            raise TimeoutError("no answer")

    journal = Journal(Away(str(tmp_path)), "shop-returns")
    with pytest.raises(TimeoutError):
        journal.append(a_record(), NOON, head=0)
    assert journal.head == 0 and journal.entries() == ()


def test_the_same_record_of_somebody_else_is_not_taken_for_ones_own(journal: Journal, tmp_path: Path) -> None:
    class ComesSecond(Store):
        def create(self, path: str, data: bytes) -> None:
            filled(journal, 1)
            super().create(path, data)

    with pytest.raises(Conflict):
        Journal(ComesSecond(str(tmp_path)), "shop-returns").append(a_record("0"), NOON, head=0)


def test_two_processes_racing_a_thousand_appends_each_lose_and_double_none(tmp_path: Path) -> None:
    with appender(tmp_path, "left", 1000) as left, appender(tmp_path, "right", 1000) as right:
        start(left)
        start(right)
        with ThreadPoolExecutor(2) as pool:
            answers = list(pool.map(lambda process: process.communicate()[0].split(), (left, right)))
    entries = Journal(Store(str(tmp_path)), "shop-returns").entries()
    assert sorted(int(seq) for answer in answers for seq in answer) == list(range(1, 2001))
    assert Counter(keys(entries)) == {f"{name}-{number}": 1 for name in ("left", "right") for number in range(1000)}
    for name, answer in zip(("left", "right"), answers, strict=True):
        assert [entries[int(seq) - 1].record for seq in answer] == [
            TrainingRefused(key=f"{name}-{number}", reason="raced") for number in range(1000)
        ]


def test_a_listing_that_misses_an_entry_while_others_append_is_no_gap(journal: Journal, tmp_path: Path) -> None:
    class ListsWithGap(Store):
        def list(self, prefix: str, after: str | None = None) -> list[str]:
            return [path for path in super().list(prefix, after) if not path.endswith("02.json")]

    filled(journal, 3)
    assert Journal(ListsWithGap(str(tmp_path)), "shop-returns").entries() == journal.entries()


def test_threads_may_share_a_view(journal: Journal) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: journal.decide(lambda entries: a_record(str(number)), NOON), range(200)))
    assert sorted(keys(journal.entries()), key=int) == [str(number) for number in range(200)]


@pytest.mark.parametrize("answers", [1, 7, 40])
def test_a_writer_killed_while_appending_leaves_a_whole_journal(tmp_path: Path, answers: int) -> None:
    with appender(tmp_path, "killed", 100_000) as process:
        start(process)
        assert process.stdout is not None
        for _ in range(answers):
            process.stdout.readline()
        process.kill()
        process.wait()
    journal = Journal(Store(str(tmp_path)), "shop-returns")
    survived = keys(journal.entries())
    assert survived == [f"killed-{number}" for number in range(len(survived))]
    assert len(survived) >= answers
    assert journal.append(a_record("next"), NOON, head=journal.head).seq == len(survived) + 1


def test_a_reader_beside_a_writer_sees_only_whole_entries(tmp_path: Path) -> None:
    with appender(tmp_path, "writer", 500) as process:
        start(process)
        while process.poll() is None:
            seen = keys(Journal(Store(str(tmp_path)), "shop-returns").entries())
            assert seen == [f"writer-{number}" for number in range(len(seen))]
    assert len(Journal(Store(str(tmp_path)), "shop-returns").entries()) == 500


def test_files_of_others_in_the_folder_are_not_entries(journal: Journal, tmp_path: Path) -> None:
    filled(journal, 1)
    entry_file(tmp_path, 1).with_name("000000002.json.bak").write_text("{}")
    entry_file(tmp_path, 1).with_name("notes.txt").write_text("hello")
    assert len(Journal(Store(str(tmp_path)), "shop-returns").entries()) == 1


def changed(file: Path) -> None:
    file.write_text(file.read_text().replace("too few rows", "too few rowz"))


def truncated(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-9])


def emptied(file: Path) -> None:
    file.write_bytes(b"")


def replaced_by_its_follower(file: Path) -> None:
    entry_file(file.parents[2], 3).replace(file)


@pytest.mark.parametrize("tamper", [changed, truncated, emptied, replaced_by_its_follower, Path.unlink])
def test_a_tampered_journal_is_broken(journal: Journal, tmp_path: Path, tamper) -> None:  # type: ignore[no-untyped-def]
    filled(journal, 4)
    tamper(entry_file(tmp_path, 2))
    with pytest.raises(BrokenJournal, match="shop-returns/00000000"):
        Journal(Store(str(tmp_path)), "shop-returns").entries()


def test_an_unknown_kind_of_record_is_refused_rather_than_skipped(journal: Journal, tmp_path: Path) -> None:
    filled(journal, 1)
    file = entry_file(tmp_path, 1)
    file.write_text(file.read_text().replace("training.refused", "training.exploded"))
    with pytest.raises(BrokenJournal, match="is no journal entry"):
        Journal(Store(str(tmp_path)), "shop-returns").entries()


def test_what_newer_code_says_beside_is_passed_over(journal: Journal, tmp_path: Path) -> None:
    filled(journal, 1)
    file = entry_file(tmp_path, 1)
    file.write_text(file.read_text().replace('"reason":', '"later": {"added": 1}, "reason":'))
    older = Journal(Store(str(tmp_path)), "shop-returns")
    older.append(a_record("next"), NOON, head=1)
    assert keys(older.entries()) == ["0", "next"]
    assert keys(Journal(Store(str(tmp_path)), "shop-returns").entries()) == ["0", "next"]


def test_a_view_travels_to_another_process_as_its_address(journal: Journal) -> None:
    filled(journal, 2)
    assert pickle.loads(pickle.dumps(journal)).entries() == journal.entries()
