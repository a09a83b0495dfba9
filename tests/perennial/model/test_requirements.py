"""What is said when a window has too few rows, by what emptied it."""

from pathlib import Path

import pytest

from perennial.model.plan import make_plan
from perennial.model.requirements import NotEnoughRows, check_rows
from tests.builders import MONTHS, deliver, make_use_case, moment


@pytest.mark.parametrize(
    ("label", "as_of", "remedy"),
    [
        ({"known_after": "40d", "matures_after": "40d"}, "2024-05-01", r"Make `training.validation` \(14d\) clearly"),
        (
            {"known_after": "0s", "matures_after": "0s"},
            "2024-01-20",
            "window, which has no days yet, .* data begin later than",
        ),
    ],
)
def test_an_empty_window_says_what_emptied_it(tmp_path: Path, label: dict[str, str], as_of: str, remedy: str) -> None:
    workspace = make_use_case(tmp_path, changes={"label": label})
    deliver(workspace, *MONTHS)
    plan = make_plan(workspace, moment(as_of))
    with pytest.raises(NotEnoughRows, match=remedy):
        check_rows(workspace.use_case, plan)
