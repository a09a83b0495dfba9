"""The block standards of Prefect, asked of every block that the package exports."""

import inspect
from collections.abc import Callable
from datetime import timedelta

import pytest
from prefect.blocks.core import Block
from pydantic import ValidationError

import blocks.environment
from blocks.documents import (
    AnothersPlace,
    InvalidEnvironment,
    UnknownEnvironment,
    enter,
    environment_names,
    read_document,
    read_settings,
    settings_of,
)
from blocks.environment import Environment
from perennial.settings import Settings

BLOCKS = [
    one
    for _, one in inspect.getmembers(blocks.environment, inspect.isclass)
    if issubclass(one, Block) and one is not Block
]


@pytest.mark.parametrize("block", BLOCKS)
class TestBlockStandards:
    def test_has_a_description(self, block: type[Block]) -> None:
        assert block.get_description()

    def test_has_a_documentation_url(self, block: type[Block]) -> None:
        assert block._documentation_url

    def test_has_an_example_that_loads_it(self, block: type[Block]) -> None:
        example = block.get_code_example()
        assert example is not None
        assert f'{block.__name__}.load("BLOCK_NAME")' in example

    def test_every_field_is_described_in_a_sentence(self, block: type[Block]) -> None:
        for name in Settings.model_fields:
            description = block.model_fields[name].description
            assert description and description.endswith("."), name


def test_fields_that_come_later_have_defaults() -> None:
    assert Environment(environment="dev", storage_root="x").settings().environment == "dev"


@pytest.mark.parametrize("name", environment_names())
def test_every_document_is_valid(name: str) -> None:
    assert read_settings(name).environment == name


def test_an_unknown_environment_is_refused_with_a_suggestion() -> None:
    with pytest.raises(UnknownEnvironment, match="did you mean `dev`"):
        read_settings("dve")


def test_an_override_that_does_not_fit_names_its_field(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERENNIAL_THREADS", "many")
    with pytest.raises(InvalidEnvironment, match="threads"):
        settings_of({"environment": "dev", "storage_root": "x"})


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        ("notifications", "[slack-webhook/alerts, email/team]", ("slack-webhook/alerts", "email/team")),
        ("notifications", "[]", ()),
        ("secrets", "{AWS_SECRET_ACCESS_KEY: storage-secret}", {"AWS_SECRET_ACCESS_KEY": "storage-secret"}),
        ("approval_timeout", "PT90M", timedelta(minutes=90)),
        ("threads", "2", 2),
        ("storage_root", "s3://bucket/prefix", "s3://bucket/prefix"),
        ("storage_endpoint", "http://127.0.0.1:9000", "http://127.0.0.1:9000"),
        ("mlflow_tracking_uri", "https://mlflow", "https://mlflow"),
    ],
)
def test_every_kind_of_field_can_be_overridden(
    field: str, text: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"PERENNIAL_{field.upper()}", text)
    for document in ({"environment": "test", "storage_root": "x"}, read_document("prod")):
        assert getattr(settings_of(document), field) == value


@pytest.mark.parametrize(("field", "text"), [("notifications", "slack"), ("secrets", "{A: [}"), ("secrets", "A=b")])
def test_a_list_or_section_that_is_none_names_its_field(field: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"PERENNIAL_{field.upper()}", text)
    with pytest.raises(InvalidEnvironment, match=field):
        settings_of({"environment": "dev", "storage_root": "x"})


@pytest.mark.parametrize("ask", [read_settings, enter])
def test_places_of_the_environment_one_is_in_are_not_taken_for_anothers(
    monkeypatch: pytest.MonkeyPatch, ask: Callable[[str], object]
) -> None:
    monkeypatch.setenv("PERENNIAL_ENV", "prod")
    monkeypatch.setenv("PERENNIAL_STORAGE_ROOT", "s3://models/prod")
    assert read_settings("prod").storage_root == "s3://models/prod"
    with pytest.raises(AnothersPlace, match=r"`test` is asked for.* in `prod`.*`PERENNIAL_STORAGE_ROOT` say"):
        ask("test")
    monkeypatch.delenv("PERENNIAL_STORAGE_ROOT")
    assert read_settings("test").storage_root != "s3://models/prod"


def test_settings_are_closed() -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate({"environment": "dev", "storage_root": "x", "storge": "y"})
