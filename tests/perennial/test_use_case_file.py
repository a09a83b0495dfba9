"""Reading declarations: good ones quickly, wrong ones with line and nearest key, hostile ones not at all."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from perennial.model.estimators import ESTIMATORS
from perennial.plain_yaml import MAX_BYTES, NotPlain, parse_yaml
from perennial.use_case_checks import ESTIMATOR_NAMES
from perennial.use_case_file import (
    MAX_PROBLEMS,
    InvalidUseCase,
    UnknownUseCase,
    load_use_case,
    use_case_schema,
    use_case_slugs,
)

ROOT = Path(__file__).parents[2]
GOOD = """\
title: Orders that come back
task: binary
entity: orders
sources:
  orders:
    read: {csv: "orders-{period}.csv"}
    key: [order_id]
    event_time: ordered_at
    columns:
      order_id: {type: string}
      ordered_at: {type: timestamp}
      channel: {type: string, values: [app, on, no], pattern: "[a-z]+"}
label: {source: orders, value: returned}
metrics:
  primary: roc_auc
  also: [log_loss]
training:
  validation: 14d
  candidates:
    majority: {estimator: majority}
    trees:
      estimator: xgboost
      params: {max_depth: 3}
      search: {trials: 5, space: {max_depth: [2, 3], learning_rate: {low: 0.01, high: 0.3, log: true}}}
gate: {floor: 0.65}
retraining:
  on: [performance]
schedules: {pipeline: "0 6 * * mon-fri"}
"""


def write(root: Path, text: str | bytes, slug: str = "shop-returns") -> Path:
    folder = root / slug
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "features.sql").write_text("SELECT 1")
    path = folder / "use_case.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def problems(root: Path, text: str | bytes) -> list[str]:
    """Load a text that must be refused, and return `line: what` of each mistake."""
    path = write(root, text)
    with pytest.raises(InvalidUseCase) as refused:
        load_use_case(root, "shop-returns")
    assert all(one.startswith(f"{path}:") for one in refused.value.problems)
    return [one.removeprefix(f"{path}:") for one in refused.value.problems]


def changed(old: str, new: str) -> tuple[str, int]:
    """Return the good text with one change, and the line of that change."""
    assert old in GOOD
    return GOOD.replace(old, new, 1), GOOD[: GOOD.index(old)].count("\n") + 1


def test_a_good_file_loads_with_its_slug_and_folder(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    use_case = load_use_case(tmp_path, "shop-returns")
    assert (use_case.slug, use_case.folder) == ("shop-returns", tmp_path / "shop-returns")
    assert use_case.retraining.on == ("performance",)
    assert use_case.sources["orders"].columns["channel"].values == ("app", "on", "no")
    assert use_case_slugs(tmp_path) == ["shop-returns"]


@pytest.mark.parametrize("name", ["score", "Score", "batch", "model_version"])
def test_a_key_with_the_name_of_a_column_of_predictions_is_refused(tmp_path: Path, name: str) -> None:
    line = GOOD[: GOOD.index("key:")].count("\n") + 1
    found = problems(tmp_path, GOOD.replace("order_id", name))
    assert found == [
        f"{line}: `{name}` is a column that predictions get besides the key; call the key column otherwise"
    ]


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("training:", "traning:", "`traning` is no key of the file; did you mean `training`?"),
        ("event_time:", "evnt_time:", "`evnt_time` is no key of `sources.orders`; did you mean `event_time`?"),
        ("validation:", "validaton:", "`validaton` is no key of `training`; did you mean `validation`?"),
        ("trials: 5", "trials: 5, spcae: 1", "`spcae` is no key of `training.candidates.trees.search`; did you mean"),
        ("{csv:", "{cvs:", "`sources.orders.read` must have one of the keys `python`, `csv`, `parquet`, `sql`; did y"),
        (
            '{csv: "',
            '{delimter: ";", csv: "',
            "`delimter` is no key of `sources.orders.read`; did you mean `delimiter`",
        ),
        ("task: binary", "task: binry", "`task` must be `binary` or `regression`, got `binry`; did you mean `binary`?"),
        ("14d", "14", "`training.validation`: `14` is no duration: write a whole number and a unit"),
        ("max_depth: 3", "max_depth: [3]", "`training.candidates.trees.params.max_depth` must be `true` or `false` or"),
        ("[2, 3]", "2", "`training.candidates.trees.search.space.max_depth` must be a list of values, or a range with"),
        ("high: 0.3", "hihg: 0.3", "must be `low`, `high` or `log`, got `hihg`; did you mean `high`?"),
        ("floor: 0.65", "floor: .inf", "`gate.floor` must be a valid number"),
        ("floor: 0.65", "floor: 1e999", "`gate.floor` must be a finite number"),
        ("{type: string}", "string", "`sources.orders.columns.order_id` must be a section of keys"),
        ("{source: orders, value: returned}", "{source: orders}", "`label` lacks the key `value`"),
        ("entity: orders", "entity: order", "`entity` names `order`, which is not under `sources`"),
        ("entity: orders", "entity: orders\nstarts: '2024'", "`starts` is `2024`, which is no month"),
        ("roc_auc", "roc_acu", "`roc_acu` is no metric for `binary`; did you mean `roc_auc`?"),
        ("estimator: xgboost", "estimator: xgbost", "`xgbost` is no estimator for `binary`; did you mean `xgboost`?"),
        ("estimator: majority", "estimator: ridge", "`ridge` is no estimator for `binary`; it can be `majority`, "),
        ("[log_loss]", "[rmse]", "`rmse` is no metric for `binary`; it can be"),
        ('"0 6 * * mon-fri"', '"0 25 * * *"', "`25` in `0 25 * * *` is no hour of a cron line: expected 0 to 23"),
        ('"0 6 * * mon-fri"', '"@daily"', "`@daily` is no cron line: expected 5 fields"),
        ('pattern: "[a-z]+"', 'pattern: "[a-z"', "`[a-z` is no regular expression"),
        *(
            ('pattern: "[a-z]+"', f"pattern: '{unmatched}'", f"`{unmatched}` cannot be matched in one pass")
            for unmatched in (r"(?!app).+", r"(?<=a)pp", r"([a-z])\1", r"app\Z", r"(\w{999}){999}", r"(?>a)b")
        ),
        ("{type: string}", "{type: integer, min: 3, max: 2}", "`min` 3 of `order_id` is more than `max` 2"),
        ("{type: string}", "{type: string, min: 3}", "`min` is checked on columns of type `integer` or `number`, and"),
        ("{type: timestamp}", "{type: timestamp, max: 3}", "and `ordered_at` is of type `timestamp`"),
        ("{type: string}", "{type: integer, values: ['5']}", "`values` is checked on columns of type `string`, and"),
        (
            "{type: string}",
            "{type: integer, pattern: '\\d{4}'}",
            "`pattern` is checked on columns of type `string`, and",
        ),
        ("channel: {", "delivery: {", "`delivery` is a column that every table gets besides those declared"),
        ("channel: {", "known_at: {", "`known_at` is a column that every table gets besides those declared"),
        ("channel: {", "Order_ID: {", "`Order_ID` and `order_id` differ only in case"),
        ("title:", "features: ../secret.sql\ntitle:", "`../secret.sql` lies outside"),
        ("title:", "features: lost.sql\ntitle:", "`lost.sql` does not exist below"),
        ('{csv: "orders-{period}.csv"}', "{python: a/../../x.py:f}", "`a/../../x.py` lies outside"),
        ('{csv: "orders-{period}.csv"}', "{python: source.py:f}", "`source.py` does not exist below"),
        ("orders-{period}", "orders-{{ period }}", "`sources.orders.read.csv` holds a template"),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path: Path, old: str, new: str, what: str) -> None:
    text, line = changed(old, new)
    found = problems(tmp_path, text)
    assert len(found) == 1
    assert found[0].startswith(f"{line + new.count(chr(10)) * ('starts' in new)}: ")
    assert what in found[0]


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("observations", "`observations` is a view or table that stands beside the sources; give yours another name"),
        ("Labels", "`Labels` is a view or table that stands beside the sources"),
        ("query_result", "`query_result` is a view or table that stands beside the sources"),
        ("Orders", "`Orders` and `orders` differ only in case, which SQL does not see; rename one"),
    ],
)
def test_a_source_is_not_called_like_another_view(tmp_path: Path, name: str, what: str) -> None:
    other = f"  {name}:\n    read: {{csv: x.csv}}\n    key: [id]\n    columns: {{id: {{type: string}}}}\n"
    text = GOOD.replace("label: {", f"{other}label: {{", 1)
    [found] = problems(tmp_path, text)
    assert found.startswith(f"{text[: text.index(other)].count(chr(10)) + 1}: {what}")


def test_the_entity_is_not_called_observations(tmp_path: Path) -> None:
    text = GOOD.replace("entity: orders", "entity: observations").replace("  orders:", "  observations:")
    assert "stands beside the sources" in problems(tmp_path, text.replace("source: orders", "source: observations"))[0]


@pytest.mark.parametrize(
    ("column", "label", "what"),
    [
        ("string", "", "`outcomes` has no `event_time`, so that its labels would have been known always; declare"),
        ("timestamp", ", known_after: 30d", "`outcomes` has no `event_time`"),
        ("string", ", known_at: told", "`told` is no time of `outcomes`; there is none"),
        ("timestamp", ", known_at: tolled", "`tolled` is no time of `outcomes`; did you mean `told`?"),
        ("timestamp", ", known_at: known_at", "`known_at` is no time of `outcomes`; it can be `told`"),
    ],
)
def test_a_label_says_when_it_became_known(tmp_path: Path, column: str, label: str, what: str) -> None:
    text = with_reference_label(column, label)
    line = text[: text.index("label: {")].count("\n") + 1
    assert [one.partition(what)[:2] for one in problems(tmp_path, text)] == [(f"{line}: ", what)]


def test_the_label_of_a_reference_table_may_say_itself_when_it_became_known(tmp_path: Path) -> None:
    write(tmp_path, with_reference_label("timestamp", ", known_at: told"))
    assert load_use_case(tmp_path, "shop-returns").label.known_at == "told"


def with_reference_label(column: str, label: str) -> str:
    outcomes = f"""\
  outcomes:
    read: {{csv: outcomes.csv}}
    key: [order_id]
    columns: {{order_id: {{type: string}}, returned: {{type: integer}}, told: {{type: {column}}}}}
label: {{source: outcomes, value: returned{label}}}
"""
    return GOOD.replace("label: {source: orders, value: returned}\n", outcomes)


def test_all_mistakes_come_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = GOOD.replace("title:", "titel:").replace("floor", "flor").replace("type: timestamp", "type: time")
    found = problems(tmp_path, text)
    assert [one.split(":")[0] for one in found] == ["1", "11", "25"]


def test_at_most_ten_mistakes_are_shown_and_the_rest_counted(tmp_path: Path) -> None:
    write(tmp_path, GOOD + "".join(f"unknown_{number}: 1\n" for number in range(13)))
    with pytest.raises(InvalidUseCase) as refused:
        load_use_case(tmp_path, "shop-returns")
    lines = str(refused.value).splitlines()
    assert lines[0] == "`shop-returns` has 13 mistakes in its declaration:"
    assert len(lines) == 1 + MAX_PROBLEMS + 1
    assert lines[-1] == "... and 3 more."


def test_a_password_in_a_url_is_not_repeated(tmp_path: Path) -> None:
    text, _ = changed('{csv: "orders-{period}.csv"}', '{sql: ["postgresql://me:canary@host/db"], query: SELECT 1}')
    assert "canary" not in "".join(problems(tmp_path, text))


@pytest.mark.parametrize("slug", ["prefect", "mlflow", "worker", "churn-canary", "churn-stable"])
def test_a_service_is_not_called_as_something_else_on_a_cluster(tmp_path: Path, slug: str) -> None:
    write(tmp_path, GOOD, slug)
    assert load_use_case(tmp_path, slug).slug == slug  # it answers nobody online
    write(tmp_path, GOOD + "serving: {}\n", slug)
    with pytest.raises(InvalidUseCase, match="is the name of something else on a cluster") as refused:
        load_use_case(tmp_path, slug)
    assert f":{len(GOOD.splitlines()) + 1}: " in refused.value.problems[0]
    write(tmp_path, GOOD + "serving: {}\n", "canary-churn")
    assert load_use_case(tmp_path, "canary-churn").serving is not None


@pytest.mark.parametrize("slug", ["", "../x", "a/b", "a\0b", ".", "Shop", "shop_returns", "a" * 54, "x\n", "/etc"])
def test_a_slug_of_another_form_is_refused_before_the_disk_is_touched(slug: str) -> None:
    class Untouchable(type(Path())):  # type: ignore[misc]
        def __truediv__(self, other: object) -> Path:
            raise AssertionError("the disk was touched")

    with pytest.raises(UnknownUseCase, match="is no name of a use case"):
        load_use_case(Untouchable("use_cases"), slug)


def test_an_unknown_use_case_is_answered_with_the_nearest_and_all_known(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    write(tmp_path, GOOD, "flight-delay")
    with pytest.raises(UnknownUseCase) as unknown:
        load_use_case(tmp_path, "shop-return")
    assert "did you mean `shop-returns`?" in str(unknown.value)
    assert "`flight-delay`, `shop-returns`" in str(unknown.value)


def test_without_any_use_case_that_is_said(tmp_path: Path) -> None:
    with pytest.raises(UnknownUseCase, match="none yet"):
        load_use_case(tmp_path / "nowhere", "shop")


HOSTILE = {
    "object tag": (
        b"title: !!python/object/apply:os.system ['touch owned']",
        1,
        "`!!python/object/apply:os.system`: tags",
    ),
    "local tag": (b"a: 1\nb: !include /etc/passwd", 2, "`!include`: tags are not read"),
    "laughs": (b"a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]", 1, "`&a`: anchors and aliases are not read"),
    "merge of an alias": (b"a: &a {b: 1}\nc: {<<: *a}", 1, "`&a`: anchors"),
    "alias to itself": (b"a: &a [*a]", 1, "anchors"),
    "key twice": (b"title: x\ntask: binary\ntitle: y", 3, "the key `title` is there twice, first in line 1"),
    "key twice deep inside": (b"a:\n  b: 1\n  b: 2", 3, "the key `b` is there twice, first in line 2"),
    "nested a million times": (b"[" * 900_000, 1, "nested deeper than 20 levels"),
    "nested by indentation": (b"".join(b" " * n + b"a:\n" for n in range(200)), 21, "nested deeper than 20 levels"),
    "too large": (b"#" * (MAX_BYTES + 1), 1, "larger than 1,000,000 bytes"),
    "template as a mapping": (b"title: {{ prefect.blocks.secret.x }}", 1, "a key must be a plain word"),
    "list as a key": (b"? [a, b]\n: 1", 1, "a key must be a plain word"),
    "two documents": (b"title: x\n---\ntitle: y", 2, "a second document begins"),
    "not UTF-8": (b"title: x\ntask: \xff\xfe", 2, "not UTF-8"),
    "a NUL": (b"title: x\ntask: \x00", 2, "control characters are not allowed"),
    "a tab": (b"title: x\n\ttask: y", 2, "this is no YAML"),
    "cut off": (b"title: x\nsources: {orders: {read: ", 2, "this is no YAML"),
    "empty": (b"", 1, "the file must consist of keys"),
    "a list": (b"- title", 1, "the file must consist of keys"),
    "a number without end": (
        b"title: x\ngate: {floor: " + b"9" * 5000 + b"}",
        2,
        "`gate.floor` must be a finite number",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_yaml_is_refused_with_its_line(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data, line, what = HOSTILE[name]
    found = problems(tmp_path, data)
    assert any(one.startswith(f"{line}: ") and what in one for one in found), found
    assert not Path("owned").exists()


def test_a_folder_in_place_of_the_file_is_no_use_case(tmp_path: Path) -> None:
    (tmp_path / "shop" / "use_case.yaml").mkdir(parents=True)
    with pytest.raises(UnknownUseCase):
        load_use_case(tmp_path, "shop")


@given(st.binary(max_size=200) | st.text(alphabet="ab:-[]{}&*!?|>'\"%#,\n \t~0.e", max_size=60).map(str.encode))
@settings(max_examples=400, deadline=None)
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        document = parse_yaml(data)
    except NotPlain as refused:
        lines = data.count(b"\n") + data.count(b"\r") + data.count(b"\xc2\x85") + data.count(b"\xe2\x80") + 1
        assert all(1 <= line <= lines for line, _ in refused.problems)
    else:
        json.dumps(document.value)


keys = st.text("abcdef-", min_size=1, max_size=5)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**17), 10**17) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=10,
)  # fmt: skip


@given(plain)
@settings(max_examples=200, deadline=None)
def test_plain_data_comes_back_as_it_was(value: object) -> None:
    assert parse_yaml(json.dumps(value).encode()).value == value


@given(plain, st.sampled_from(["title", "sources", "label", "training", "gate", "retraining", "every", "schedules"]))
@settings(max_examples=60, deadline=None)
def test_any_value_in_any_section_loads_or_is_named(
    tmp_path_factory: pytest.TempPathFactory, value: object, key: str
) -> None:
    root = tmp_path_factory.getbasetemp() / "any"
    write(root, yaml.safe_dump(yaml.safe_load(GOOD) | {key: value}, default_flow_style=True, width=10_000))
    try:
        load_use_case(root, "shop-returns")
    except InvalidUseCase as refused:
        assert refused.problems


def test_the_estimators_of_the_check_are_those_there_are() -> None:
    assert sorted(ESTIMATORS) == sorted((name, task) for task, names in ESTIMATOR_NAMES.items() for name in names)


def test_the_committed_schema_is_that_of_the_code() -> None:
    committed = (ROOT / "use_cases" / "use_case.schema.json").read_text(encoding="utf-8")
    assert committed == use_case_schema(), "run `python -m perennial.use_case_file > use_cases/use_case.schema.json`"


def test_the_schema_is_printed_by_the_module() -> None:
    command = [sys.executable, "-W", "error", "-m", "perennial.use_case_file"]
    assert subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout == use_case_schema()


@pytest.mark.parametrize("slug", use_case_slugs(ROOT / "use_cases"))
def test_the_use_cases_of_this_house_load(slug: str) -> None:
    assert load_use_case(ROOT / "use_cases", slug).slug == slug
