"""Feature rows become the same numbers everywhere, and what the model never saw is missing to it."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perennial.data.engine import QueryFailed, quote
from perennial.model import encoding
from perennial.model.encoding import Encoder
from tests.model_builders import ENCODER, make_engine, make_matrix, make_rows


def encoded(encoder: Encoder, rows: pa.Table) -> np.ndarray:
    with make_engine() as engine:
        engine.arrow("rows", rows)
        return encoder.matrix(engine.table(encoder.select("rows")))


def learned(rows: pa.Table, categorical: list[str]) -> Encoder:
    with make_engine() as engine:
        engine.arrow("rows", rows)
        return Encoder.learn(engine, "rows", rows.column_names, categorical)


def test_a_category_becomes_its_place_in_the_sorted_list() -> None:
    encoder = learned(pa.table({"c": ["b", "a", "ä", None, "b", ""]}), ["c"])
    assert encoder.categories == {"c": ("", "a", "b", "ä")}
    assert encoded(encoder, pa.table({"c": ["ä", "a", "", "b"]})).tolist() == [[3.0], [1.0], [0.0], [2.0]]


def test_an_unseen_or_missing_category_is_missing_and_never_another() -> None:
    matrix = encoded(
        ENCODER, pa.table({"size": [1.0] * 4, "colour": ["violet", None, "Blue", "blue "], "age": [1] * 4})
    )
    assert np.isnan(matrix[:, 1]).all()


def test_numbers_that_a_float_cannot_hold_are_missing() -> None:
    values = pa.array([1.5, None, np.nan, np.inf, -np.inf, 1e300, -0.0])
    matrix = encoded(Encoder(features=("x",), categories={}), pa.table({"x": values}))
    assert matrix[0, 0] == 1.5
    assert np.isnan(matrix[1:6, 0]).all()
    assert matrix[6, 0] == 0.0


@pytest.mark.parametrize("column", [[True, False, None], ["1", "0", "x"], pa.array([1, 0, None], pa.decimal128(9, 2))])
def test_booleans_decimals_and_texts_of_numbers_are_numbers(column: object) -> None:
    matrix = encoded(Encoder(features=("x",), categories={}), pa.table({"x": column}))
    assert matrix[:2, 0].tolist() == [1.0, 0.0]
    assert np.isnan(matrix[2, 0])


def test_the_matrix_is_float32_in_the_order_of_the_features_whatever_the_order_of_the_columns() -> None:
    rows = make_rows(50)
    matrix = make_matrix(rows)
    assert (matrix.dtype, matrix.shape) == (np.float32, (50, 3))
    again = encoded(ENCODER, rows.select(["age", "colour", "size"]))
    assert np.array_equal(matrix, again, equal_nan=True)


def test_one_row_is_encoded_as_it_is_among_many() -> None:
    rows = make_rows(20)
    whole = make_matrix(rows)
    single = np.vstack([make_matrix(rows.slice(number, 1)) for number in range(20)])
    assert np.array_equal(whole, single, equal_nan=True)


def test_columns_to_keep_come_first_even_under_the_name_of_a_feature() -> None:
    with make_engine() as engine:
        engine.arrow("rows", make_rows(5))
        kept = engine.table(ENCODER.select("rows", ["colour", "age"]))
    assert kept.column_names[:2] == ["colour", "age"]
    assert np.array_equal(ENCODER.matrix(kept), make_matrix(make_rows(5)), equal_nan=True)


def test_names_and_categories_with_quotes_are_data_and_no_sql() -> None:
    name, value = 'it"s', "'); DROP TABLE rows; --"
    encoder = learned(pa.table({name: [value, "b"]}), [name])
    assert encoded(encoder, pa.table({name: ["b", value]})).tolist() == [[1.0], [0.0]]


def test_a_column_without_any_category_is_missing_throughout() -> None:
    encoder = learned(pa.table({"c": pa.array([None, None], pa.string())}), ["c"])
    assert encoder.categories == {"c": ()}
    assert np.isnan(encoded(encoder, pa.table({"c": ["a", None]}))).all()


def test_the_most_frequent_categories_are_kept_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "MAX_CATEGORIES", 2)
    encoder = learned(pa.table({"c": ["rare", "b", "b", "a", "a", "a", "other"]}), ["c"])
    assert encoder.categories == {"c": ("a", "b")}


def test_a_missing_column_is_an_error_and_not_a_missing_value() -> None:
    with pytest.raises(QueryFailed, match="size"):
        encoded(ENCODER, make_rows(3).drop_columns(["size"]))


def test_an_encoder_is_the_same_after_json() -> None:
    again = Encoder.model_validate_json(ENCODER.model_dump_json())
    assert again == ENCODER
    assert (again.numeric, again.is_categorical()) == (("size", "age"), (False, True, False))


def test_the_select_can_stand_in_another_query() -> None:
    with make_engine() as engine:
        engine.arrow("rows", make_rows(5))
        engine.view("coded", ENCODER.select("rows"))
        assert engine.scalar(f"SELECT count(*) FROM {quote('coded')}") == 5


FLOATS = st.one_of(st.none(), st.floats(width=64), st.sampled_from([3.4028235677973366e38, 3.4028235e38, 1e-46, -0.0]))


@settings(max_examples=50, deadline=None)
@given(rows=st.lists(st.tuples(FLOATS, st.sampled_from(["a", "b", "unseen", None]), FLOATS), min_size=1, max_size=50))
def test_plain_values_are_encoded_as_the_select_does(rows: list[tuple[float | None, ...]]) -> None:
    encoder = Encoder(features=("x", "c", "y"), categories={"c": ("a", "b")})
    kinds = {"x": pa.float64(), "c": pa.string(), "y": pa.float64()}
    columns = zip(*rows, strict=True)
    table = pa.table({name: pa.array(one, kinds[name]) for name, one in zip(kinds, columns, strict=True)})
    with make_engine() as engine:
        engine.arrow("rows", table)
        whole = encoder.matrix(engine.table(encoder.select("rows")))
    assert np.array_equal(encoder.encode(rows), whole, equal_nan=True)
