"""The block standards of Prefect, asked of every block that the package exports."""

import inspect
from collections.abc import Callable
from datetime import timedelta

import pytest
from prefect.blocks.core import Block
from prefect.testing.standard_test_suites.blocks import BlockStandardTestSuite
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


class TestBlockStandards(BlockStandardTestSuite):
    """Prefect's own suite, and what is ours beside it."""

    @pytest.fixture(params=BLOCKS)
    def block(self, request: pytest.FixtureRequest) -> type[Block]:
        found: type[Block] = request.param
        return found

    def test_has_a_valid_image(self, block: type[Block]) -> None:
        """Prefect's would fetch it from the web; so would every browser that looks at the block, so there is none."""
        assert block._logo_url is None

    def test_every_setting_is_a_field(self, block: type[Block]) -> None:
        assert set(Settings.model_fields) <= set(block.model_fields)


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
