"""What a CSV becomes: the declaration and the query that are written for it, and what is refused."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from cli.scaffold import CannotScaffold, Draft, scaffold
from cli.sizing import sizes
from cli.templates import next_steps
from perennial.model.plan import training_windows
from perennial.periods import Every, Period, parse_duration
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
    return make_of(*write(folder, rows), **changes)


def make_of(path: Path, settings: Settings, **changes: Any) -> Draft:
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
        ({"label": "came_bak"}, r"did you mean `came_back`\?$"),
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


@pytest.mark.parametrize(
    ("label_after", "every", "days"),
    [("0s", Every.MONTH, 240), ("7d", Every.MONTH, 240), ("30d", Every.MONTH, 240), ("3d", Every.DAY, 60)],
)
def test_windows_hold_twice_the_rows_that_a_training_needs_however_late_labels_are(
    tmp_path: Path, label_after: str, every: Every, days: int
) -> None:
    delay, per_day = parse_duration(label_after), 5000 / days
    made = sizes(timedelta(days=days), 5000, every, delay)
    draft = make(tmp_path, label_after=label_after, every=every)
    label = opened(tmp_path).use_case.label
    assert label.known_after == label.matures_after == draft.label_after == delay
    assert (made.validation - delay).days * per_day >= 2 * made.min_rows / 10
    assert made.holdout.days * per_day >= 2 * made.min_rows / 10
    assert made.first_model < timedelta(days=days / 2)
    assert made.min_labels <= per_day * (1 if every is Every.DAY else 28)


def test_the_newest_rows_whose_label_is_not_known_are_in_no_window(tmp_path: Path) -> None:
    make(tmp_path)
    end = Period.parse("2024-06").end
    use_case = opened(tmp_path).use_case
    _, validation, holdout = training_windows(use_case, Period.parse("2024-01").start, end)
    assert holdout.end == end - timedelta(days=7)
    assert validation.end - validation.start > timedelta(days=7)


def test_a_day_of_data_has_no_feature_for_the_day_of_the_week(tmp_path: Path) -> None:
    make(tmp_path, every=Every.DAY)
    assert "day_of_week" not in opened(tmp_path).use_case.features_sql
    make(tmp_path, slug="monthly", every=Every.MONTH)
    assert "day_of_week" in (tmp_path / "use_cases/monthly/features.sql").read_text()


def test_what_is_one_is_told_as_one(tmp_path: Path) -> None:
    path, settings = write(tmp_path, [one | {"at": f"2024-01-01 0{hour}:00"} for hour, one in enumerate(ROWS[:9])])
    told = next_steps(make_of(path, settings), settings).plain
    assert "9 rows in 1 day from 2024-01-01" in told
    assert "Data of 1 day are too few" in told


def test_a_few_misfits_keep_the_type_and_are_named(tmp_path: Path) -> None:
    rows = [dict(row) for row in ROWS]
    rows[50]["price"], rows[3]["weight"], rows[9]["at"] = "many", "inf", "not a time"
    draft = make(tmp_path, rows)
    columns = {one.name: one for one in draft.columns}
    assert {name: columns[name].type for name in ("price", "weight", "at")} == {
        "price": "number",
        "weight": "number",
        "at": "timestamp",
    }
    assert columns["price"].first_misfit == "row 51 has `many`"
    assert columns["weight"].high == pytest.approx(178.75)
    assert [one.name for one in draft.misfits] == ["at", "price", "weight"]


def test_too_many_misfits_of_the_event_time_are_refused_with_the_first(tmp_path: Path) -> None:
    rows = [{**row, "at": "soon"} if number in (4, 5, 6) else row for number, row in enumerate(ROWS)]
    with pytest.raises(CannotScaffold, match="row 5 has `soon`, as one of 3 of 144 rows"):
        make(tmp_path, rows)


@pytest.mark.parametrize("taken", ["known_at", "score"])
def test_a_column_with_a_name_that_means_something_is_refused_before_anything_is_written(
    taken: str, tmp_path: Path
) -> None:
    rows = [{**{name: value for name, value in one.items() if name != "price"}, taken: one["price"]} for one in ROWS]
    with pytest.raises(CannotScaffold, match=f"nothing was written: (?s:.*){taken}(?s:.*)\nChange the CSV"):
        make(tmp_path, rows)
    assert list((tmp_path / "use_cases").iterdir()) == []


def test_a_file_that_is_no_utf8_is_told_in_one_line(tmp_path: Path) -> None:
    path, settings = write(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"words 2,", "Köln,".encode("latin-1"), 1))
    with pytest.raises(CannotScaffold, match=r"^`\S+data\.csv` is not UTF-8 in line 4\..*iconv -f latin1") as refused:
        make_of(path, settings)
    assert "\n" not in str(refused.value)


def test_another_separator_is_named(tmp_path: Path) -> None:
    path, settings = write(tmp_path)
    path.write_text(path.read_text().replace(",", ";"))
    with pytest.raises(CannotScaffold, match="seem to be separated by ';'"):
        scaffold("came-back", path, ("no",), "at", "came_back", "7d", None, settings)
