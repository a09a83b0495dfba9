"""What a comparison of two lists of items says; plain data."""

from typing import Any

from deployments.item import AUTOMATION, BLOCK, DEPLOYMENT, KINDS, POOL, SCHEDULE, Item
from deployments.plan import ABSENT, differences, plan


def item(kind: str = DEPLOYMENT, name: str = "train/prod", identity: str = "", **fields: Any) -> Item:
    return Item(kind, name, fields, identity)


def test_what_is_as_declared_needs_no_change() -> None:
    assert plan([item(paused=False)], [item(identity="1", paused=False)]) == []


def test_an_empty_server_lacks_all_in_the_order_in_which_it_can_be_made() -> None:
    declared = [item(kind, name) for kind in reversed(KINDS) for name in ("b", "a")]
    made = plan(declared, [])
    assert [one.action for one in made] == ["create"] * len(declared)
    assert [(one.item.kind, one.item.name) for one in made] == [(kind, name) for kind in KINDS for name in ("a", "b")]


def test_what_is_not_declared_goes_last_and_in_the_other_order() -> None:
    found = [item(kind, "old", identity="1") for kind in KINDS]
    made = plan([item(BLOCK, "new")], found)
    assert [(one.action, one.item.kind) for one in made] == [
        ("create", BLOCK),
        *(("delete", kind) for kind in reversed(KINDS)),
    ]
    assert {one.why for one in made if one.action == "delete"} == {"not declared"}


def test_a_change_names_the_fields_with_what_was_and_what_will_be() -> None:
    found = item(identity="1", job_variables={"env": {"A": "1", "B": "2"}}, tags=["x"])
    declared = item(job_variables={"env": {"A": "3", "C": "4"}}, tags=["x"])
    (change,) = plan([declared], [found])
    assert (change.action, change.found) == ("update", found)
    assert change.fields == {
        "job_variables.env.A": ("1", "3"),
        "job_variables.env.C": (ABSENT, "4"),
        "job_variables.env.B": ("2", ABSENT),
    }


def test_of_two_alike_the_one_that_is_right_stays() -> None:
    wrong, right = item(AUTOMATION, identity="1", enabled=False), item(AUTOMATION, identity="2", enabled=True)
    (change,) = plan([item(AUTOMATION, enabled=True)], [wrong, right])
    assert (change.action, change.found, change.why) == ("delete", wrong, "there twice")


def test_of_two_that_are_both_wrong_the_first_is_mended_and_the_other_goes() -> None:
    first, second = item(AUTOMATION, identity="1", n=1), item(AUTOMATION, identity="2", n=2)
    changes = plan([item(AUTOMATION, n=3)], [first, second])
    assert [(one.action, one.found) for one in changes] == [("update", first), ("delete", second)]


def test_the_same_name_of_another_kind_is_another_thing() -> None:
    assert [one.action for one in plan([item(POOL, "a")], [item(SCHEDULE, "a", identity="1")])] == ["create", "delete"]


def test_an_emptied_dictionary_is_a_difference() -> None:
    assert differences({"parameters": {"a": 1}}, {"parameters": {}}) == {
        "parameters": (ABSENT, {}),
        "parameters.a": (1, ABSENT),
    }
