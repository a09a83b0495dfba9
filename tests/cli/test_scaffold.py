"""What a CSV becomes: the declaration and the query that are written for it, and what is refused."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from cli.scaffold import CannotScaffold, Draft, scaffold
from perennial.periods import Every
from perennial.settings import Settings
from perennial.workspace import Workspace

ROWS = [
    {
        "no": str(number),
        "at": f"2024-{month:02d}-{day:02d} 08:00",
        "kind": "ab"[number % 2],
        "price": f"{number}.5",
        "when_paid": f"2024-{month:02d}-{day:02d}",
        "note": f"words {number}",
        "came_back": ["no", "yes", ""][number % 3],
        "weight": str(number * 1.25),
    }
    for number, (month, day) in enumerate((month, day) for month in range(1, 7) for day in range(1, 25))
]


def write(folder: Path, rows: Sequence[dict[str, str]] = ROWS) -> tuple[Path, Settings]:
    (folder / "use_cases").mkdir(exist_ok=True)
    path = folder / "data.csv"
    lines = [",".join(rows[0]), *(",".join(row.values()) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    settings = Settings(environment="test", storage_root=str(folder / "storage"), use_cases=str(folder / "use_cases"))
    return path, settings


def make(folder: Path, rows: Sequence[dict[str, str]] = ROWS, **changes: Any) -> Draft:
    path, settings = write(folder, rows)
    said = {"slug": "came-back", "key": ("no",), "event_time": "at", "label": "came_back", "label_after": "7d"}
    return scaffold(**{**said, "csv": path, "every": None, "settings": settings, **changes})


def opened(folder: Path) -> Workspace:
    return Workspace.open("came-back", write(folder)[1])


def test_the_written_folder_is_declared_right(tmp_path: Path) -> None:
    make(tmp_path)
    use_case = opened(tmp_path).use_case
    assert use_case.task == "binary"
    assert use_case.label.value == "\"came_back\" = 'yes'"
    assert use_case.every is Every.MONTH
    assert use_case.starts == "2024-01"


def test_types_are_those_that_ingestion_will_read(tmp_path: Path) -> None:
    make(tmp_path)
    columns = opened(tmp_path).use_case.sources["rows"].columns
    types = {name: column.type for name, column in columns.items()}
    assert types == {
        "no": "integer",
        "at": "timestamp",
        "kind": "string",
        "price": "number",
        "when_paid": "timestamp",
        "note": "string",
        "came_back": "string",
        "weight": "number",
    }
    assert [name for name, column in columns.items() if column.nullable] == ["came_back"]


def test_features_leave_out_key_label_times_and_free_text(tmp_path: Path) -> None:
    draft = make(tmp_path)
    assert [one.name for one in draft.features] == ["kind", "price", "weight"]
    assert [one.name for one in draft.left_out] == ["when_paid", "note"]
    assert "-- Left out: note (144 different texts)." in opened(tmp_path).use_case.features_sql


def test_a_number_with_many_values_is_a_regression_bounded_by_its_spread(tmp_path: Path) -> None:
    draft = make(tmp_path, label="weight")
    use_case = opened(tmp_path).use_case
    assert use_case.task == "regression"
    assert use_case.gate.floor == draft.ceiling == pytest.approx(52.1, abs=0.1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": "came_bak"}, "did you mean `came_back`"),
        ({"event_time": "kind"}, "holds no times"),
        ({"key": ("kind",)}, "same `kind`"),
        ({"label": "note"}, "144 different texts"),
        ({"slug": "../evil"}, "no name"),
        ({"csv": Path("nowhere.csv")}, "no file"),
    ],
)
def test_what_gives_no_use_case_is_refused_and_nothing_is_written(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(CannotScaffold, match=message):
        make(tmp_path, **changes)
    assert not list((tmp_path / "use_cases").iterdir())


def test_an_existing_folder_is_left_alone(tmp_path: Path) -> None:
    make(tmp_path)
    with pytest.raises(CannotScaffold, match="exists already"):
        make(tmp_path, label="weight")
    assert opened(tmp_path).use_case.task == "binary"


def test_a_column_name_that_sql_cannot_say_plainly_is_refused_with_a_better_one(tmp_path: Path) -> None:
    rows = [{("2nd price" if name == "price" else name): text for name, text in row.items()} for row in ROWS]
    with pytest.raises(CannotScaffold, match="`c_2nd_price`"):
        make(tmp_path, rows)
