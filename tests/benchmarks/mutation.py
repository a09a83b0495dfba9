"""`make mutation`: break the gate in every way that mutmut knows, and name each break that no test notices.

It fails unless every survivor is one that docs/mutation.md accepts with a reason.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
MUTMUT = Path(sys.executable).with_name("mutmut")
ACCEPTED = ROOT / "docs" / "mutation.md"
_ROW = re.compile(r"^\| `([\w.]+)` \| `(.+?)` \|", re.MULTILINE)
_NAME = re.compile(r"perennial\.release\.(\w+)\.x_(\w+)__mutmut_\d+")


def main() -> int:
    """Run mutmut as pyproject.toml configures it (about 90 seconds on 2 cores) and compare its survivors."""
    shutil.rmtree(ROOT / "mutants", ignore_errors=True)
    print("Breaking perennial/release/gate.py and checks.py in every way ...", flush=True)
    run = subprocess.run([MUTMUT, "run"], cwd=ROOT, capture_output=True, text=True)
    outcomes = mutmut("results", "--all", "true").split("\n")
    named = dict(line.strip().rsplit(": ", 1) for line in outcomes if ": " in line)
    if run.returncode or not named:
        print(run.stdout[-4000:], run.stderr[-4000:], sep="\n")
        return 1
    left = [name for name, outcome in named.items() if outcome != "killed"]
    known = accepted_lines(ACCEPTED.read_text(encoding="utf-8"))
    surprising = [name for name in left if not is_accepted(name, mutmut("show", name), known)]
    print(f"{len(named)} mutants, {len(named) - len(left)} killed, {len(left) - len(surprising)} accepted survivors.")
    for name in surprising:
        print(f"\n{name}: {named[name]}\n{mutmut('show', name)}")
    return 1 if surprising else 0


def accepted_lines(text: str) -> set[tuple[str, str]]:
    """Return the changed lines that docs/mutation.md accepts, each with the function in which it is accepted."""
    return set(_ROW.findall(text))


def is_accepted(name: str, difference: str, known: set[tuple[str, str]]) -> bool:
    """Say whether all changed lines of a mutant are accepted in its function.

    Args:
        name: As mutmut writes it.
        difference: What `mutmut show` prints of it.
        known: As `accepted_lines` returns them.
    """
    found = _NAME.fullmatch(name)
    function = f"{found[1]}.{found[2]}" if found else ""
    changed = {(function, line[1:].strip()) for line in difference.split("\n") if line.startswith("+ ")}
    return bool(changed) and changed <= known


def mutmut(*arguments: str) -> str:
    """Return what a command of mutmut prints."""
    return subprocess.run([MUTMUT, *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    sys.exit(main())
