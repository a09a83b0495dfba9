"""A survivor is accepted in the function that docs/mutation.md names, and nowhere else."""

import pytest

from tests.benchmarks.mutation import ACCEPTED, accepted_lines, is_accepted

SURVIVOR = """\
--- perennial/release/gate.py
+++ perennial/release/gate.py
@@ -1,3 +1,3 @@
-    return good(f"{said} is {value:.4g}.", **numbers)
+    return good(None, **numbers)
"""


@pytest.mark.parametrize(
    ("name", "difference", "answer"),
    [
        ("perennial.release.gate.x__on_slice__mutmut_12", SURVIVOR, True),
        ("perennial.release.gate.x__on_rows__mutmut_12", SURVIVOR, False),
        ("perennial.release.checks.x__on_slice__mutmut_12", SURVIVOR, False),
        ("perennial.release.gate.x\u01c1Opponent\u01c1loss__mutmut_1", SURVIVOR, False),
        ("perennial.release.gate.x__on_slice__mutmut_12", SURVIVOR + "+    pass\n", False),
        ("perennial.release.gate.x__on_slice__mutmut_12", "", False),
    ],
)
def test_a_line_is_accepted_where_it_is_said(name: str, difference: str, answer: bool) -> None:
    assert is_accepted(name, difference, accepted_lines(ACCEPTED.read_text(encoding="utf-8"))) is answer
