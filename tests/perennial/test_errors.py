"""The two kinds of error and the hint to the nearest word."""

import importlib
import pkgutil

import pytest

import perennial
from perennial.errors import PerennialError, Permanent, Transient, nearest


def errors_of_the_house() -> list[type[BaseException]]:
    for module in pkgutil.walk_packages(perennial.__path__, "perennial."):
        importlib.import_module(module.name)
    found: list[type[BaseException]] = []
    waiting: list[type[BaseException]] = [PerennialError]
    while waiting:
        waiting += (children := waiting.pop().__subclasses__())
        found += children
    return [one for one in found if one.__module__.startswith("perennial.")]


def test_every_error_says_whether_trying_again_helps() -> None:
    kinds = [one for one in errors_of_the_house() if one not in (Permanent, Transient)]
    assert kinds
    assert [one for one in kinds if issubclass(one, Permanent) == issubclass(one, Transient)] == []


def test_every_error_says_in_a_docstring_what_it_means() -> None:
    assert [one for one in errors_of_the_house() if not one.__doc__] == []


@pytest.mark.parametrize(
    ("word", "hint"),
    [("traning", "; did you mean `training`?"), ("xyz", ""), ("", "")],
)
def test_the_nearest_word_is_hinted_at_only_if_it_is_near(word: str, hint: str) -> None:
    assert nearest(word, ["training", "gate"]) == hint
    assert nearest(word, []) == ""
