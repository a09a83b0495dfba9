"""The garbage of Prefect's server does not stop its event loop."""

import subprocess
import sys
from pathlib import Path

SCRIPT = """
import gc, sqlite3, sys, threading, time
from blocks.garbage import collect_apart

class Ring:
    pass

def connect():
    return sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None, check_same_thread=False)

def leave_a_cursor_behind(connection):
    ring = Ring()
    ring.itself, ring.cursor = ring, connection.cursor()
    try:
        ring.cursor.execute("INSERT INTO things VALUES (1)")
    except sqlite3.IntegrityError:
        pass

collect_apart(every=0.05)
holder, waiter, told = connect(), connect(), []
holder.execute("CREATE TABLE things (one PRIMARY KEY)")
holder.execute("INSERT INTO things VALUES (1)")
gc.collect()  # so that nothing is collected before the other thread waits
leave_a_cursor_behind(waiter)
holder.execute("BEGIN IMMEDIATE")

begun = threading.Event()

def wait():
    begun.set()
    try:
        waiter.execute("INSERT INTO things VALUES (2)")
    except sqlite3.OperationalError as error:
        told.append(str(error))

thread = threading.Thread(target=wait)
thread.start()
begun.wait()
time.sleep(0.2)  # by then it waits for the lock to write, which nothing tells
made, began = [], time.monotonic()
while time.monotonic() - began < 1:
    made.append([Ring()])
holder.execute("COMMIT")
thread.join()
print(told)
"""


def test_a_failed_cursor_that_is_dropped_while_its_connection_waits_stops_only_who_collects(tmp_path: Path) -> None:
    """Collected by the thread that makes things, it would wait for the lock that this thread gives back."""
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "things.db")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90)
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr
