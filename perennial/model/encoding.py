"""Feature rows as a float32 matrix, by one SELECT that training, batch scoring and online serving share.

It fits nothing but the list of categories; imputing and scaling are an estimator's business. A small query takes half
as long again with an expression for each feature, so that online the values are coded after it, to the same matrix.
"""

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from perennial.data.engine import Engine, quote, quote_text
from perennial.records import Frozen

Matrix = NDArray[np.float32]
MAX_CATEGORIES = 1000
"""Categories kept per column, the most frequent ones; the others are treated as missing."""
_CODED = "coded:"
_NAN = "CAST('nan' AS FLOAT)"


class Encoder(Frozen):
    """How feature rows become numbers, fixed on the fit window.

    A number becomes FLOAT (24 bits of precision); NULL, infinities and what FLOAT cannot hold become NaN. A
    category becomes its place in the sorted list; NULL, rare and unseen ones become NaN. So a value that the
    model never saw is missing to it, and never passes for another.
    """

    features: tuple[str, ...]
    """Names in the order of the matrix's columns."""
    categories: dict[str, tuple[str, ...]]
    """Sorted texts per categorical feature; the others are numeric."""

    @classmethod
    def learn(cls, engine: Engine, relation: str, features: Sequence[str], categorical: Sequence[str]) -> Self:
        """Read the categories off the rows of a relation.

        Args:
            engine: Where the relation is.
            relation: What may follow FROM: a quoted name, or a query in parentheses.
            features: All features in the wanted order.
            categorical: Those of them that are texts.
        """
        return cls(
            features=tuple(features), categories={one: _categories(engine, relation, one) for one in categorical}
        )

    @property
    def numeric(self) -> tuple[str, ...]:
        """Names of the numeric features."""
        return tuple(one for one in self.features if one not in self.categories)

    def is_categorical(self) -> tuple[bool, ...]:
        """Say of each matrix column whether it holds codes of categories."""
        return tuple(one in self.categories for one in self.features)

    def select(self, relation: str, keep: Sequence[str] = ()) -> str:
        """Write the SELECT that gives the columns to keep as they are, then one FLOAT column per feature, never NULL.

        Args:
            relation: What may follow FROM; it has a column of each feature's name.
            keep: Columns to pass through, such as the key.
        """
        coded = [f"{self._code(one)} AS {quote(_CODED + one)}" for one in self.features]
        return f"SELECT {', '.join([*map(quote, keep), *coded])} FROM {relation}"

    @cached_property
    def codes(self) -> dict[int, dict[Any, float]]:
        """What `select` makes of each text, by place of the categorical feature among all."""
        listed = {place: self.categories[one] for place, one in enumerate(self.features) if one in self.categories}
        return {place: {text: float(code) for code, text in enumerate(texts)} for place, texts in listed.items()}

    def encode(self, rows: Sequence[Sequence[float | str | None]]) -> Matrix:
        """Return numbers and texts, in the order of the features, as the matrix that `select` gives of them."""
        plain: list[list[Any]] = [[*row] for row in rows]
        for place, codes in self.codes.items():
            for row in plain:
                row[place] = codes.get(row[place], math.nan)
        with np.errstate(over="ignore"):
            matrix = np.array(plain, dtype=np.float32).reshape(len(plain), len(self.features))
        matrix[np.isinf(matrix)] = np.nan
        return matrix

    def table(self, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
        """Return feature rows as they are logged or kept, by name, as a table; what is no feature is left out.

        Raises:
            KeyError: A row lacks a feature.
        """
        kinds = {one: pa.string() if one in self.categories else pa.float64() for one in self.features}
        return pa.table({one: pa.array([row[one] for row in rows], kind) for one, kind in kinds.items()})

    def matrix(self, rows: pa.RecordBatch | pa.Table) -> Matrix:
        """Copy the last columns of what `select` gave into a matrix, shape (rows, features)."""
        matrix = np.empty((rows.num_rows, len(self.features)), dtype=np.float32)
        for place, column in enumerate(rows.columns[rows.num_columns - len(self.features) :]):
            matrix[:, place] = column.to_numpy(zero_copy_only=False)
        return matrix

    def _code(self, feature: str) -> str:
        known = self.categories.get(feature)
        if known is None:
            number = f"TRY_CAST({quote(feature)} AS FLOAT)"
            return f"CASE WHEN isfinite({number}) THEN {number} ELSE {_NAN} END"
        if not known:
            return _NAN
        listed = ", ".join(map(quote_text, known))
        place = f"nullif(list_position([{listed}], CAST({quote(feature)} AS VARCHAR)), 0)"
        return f"coalesce(CAST({place} - 1 AS FLOAT), {_NAN})"


def _categories(engine: Engine, relation: str, column: str) -> tuple[str, ...]:
    text = f"CAST({quote(column)} AS VARCHAR)"
    counted = f"SELECT {text} AS category, count(*) AS n FROM {relation} WHERE {quote(column)} IS NOT NULL GROUP BY 1"
    frequent = f"SELECT category FROM ({counted}) ORDER BY n DESC, category LIMIT {MAX_CATEGORIES}"
    found = engine.table(f"SELECT category FROM ({frequent}) ORDER BY category", name="categories")
    return tuple(found["category"].to_pylist())
