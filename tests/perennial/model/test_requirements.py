"""What is said when a window has too few rows, by what emptied it."""

from pathlib import Path

import pytest

from perennial.model.plan import make_plan
from perennial.model.requirements import NotEnoughRows, check_rows, short_validation
from tests.builders import MONTHS, deliver, make_use_case, moment


@pytest.mark.parametrize(
    ("label", "outcomes", "as_of", "remedy"),
    [
        (
            {"known_after": "40d", "matures_after": "40d"},
            {},
            "2024-05-01",
            r"Make `training.validation` \(14d\) clearly",
        ),
        (
            {"known_at": "ordered_at", "matures_after": "40d"},
            {"known_after": "40d"},
            "2024-05-01",
            r"known up to 40d after .* Make `training.validation` \(14d\) clearly longer, or `label.matures_after`",
        ),
        (
            {"known_after": "0s", "matures_after": "0s"},
            {},
            "2024-01-20",
            "window, which has no days yet, .* data begin later than",
        ),
    ],
)
def test_an_empty_window_says_what_emptied_it(
    tmp_path: Path, label: dict[str, str], outcomes: dict[str, str], as_of: str, remedy: str
) -> None:
    workspace = make_use_case(tmp_path, changes={"label": label, "sources": {"outcomes": outcomes}})
    deliver(workspace, *MONTHS)
    plan = make_plan(workspace, moment(as_of))
    with pytest.raises(NotEnoughRows, match=remedy):
        check_rows(workspace.use_case, plan)


@pytest.mark.parametrize(
    ("label", "outcomes", "told"),
    [
        ({"known_after": "13d"}, {}, None),
        ({"known_after": "14d", "matures_after": "14d"}, {}, "are known 14d after"),
        ({"known_after": "5d"}, {"known_after": "9d"}, "are known 14d after"),
        ({"matures_after": "31d"}, {}, None),
        ({"known_at": "ordered_at", "matures_after": "31d"}, {}, "are known up to 31d after"),
        ({"matures_after": "31d"}, {"known_at": "ordered_at"}, "are known up to 31d after"),
        ({"matures_after": "13d"}, {"known_at": "ordered_at"}, None),
    ],
)
def test_a_validation_window_is_too_short_for_labels_that_come_when_it_is_over(
    tmp_path: Path, label: dict[str, str], outcomes: dict[str, str], told: str | None
) -> None:
    delays = {"label": {"matures_after": "13d", **label}, "sources": {"outcomes": {"known_after": "0s", **outcomes}}}
    said = short_validation(make_use_case(tmp_path, months=(), changes=delays).use_case)
    assert said is None if told is None else said and told in said
