"""The `Environment` block: the same fields as `Settings`, kept by a Prefect server; one document per environment."""

from collections.abc import Mapping
from typing import Any, ClassVar, cast

from prefect.blocks.core import Block
from prefect.settings import PREFECT_API_URL
from pydantic import ConfigDict

from blocks.documents import chosen_settings, environment_name, read_document, read_settings, settings_of
from blocks.secrets import load_secrets
from perennial.settings import Settings


class Environment(Settings, Block):
    """Where one environment of Perennial keeps its things, and what it runs on.

    Its fields are those of `perennial.settings.Settings`. Fields are only ever added, with defaults,
    because a document that was saved before must still load.
    """

    model_config = ConfigDict(frozen=False, extra="ignore")

    _block_type_name = "Perennial Environment"
    _block_type_slug = "perennial-environment"
    _description = "Where one environment of Perennial keeps its things, and what it runs on."
    _documentation_url: ClassVar[Any] = "https://docs.prefect.io/v3/concepts/blocks"
    _code_example = """
    ```python
    from blocks.environment import Environment

    environment = Environment.load("BLOCK_NAME")
    ```
    """

    def settings(self) -> Settings:
        """Return its fields as plain settings, overridden and resolved as the files are."""
        return settings_of(self.model_dump(include=set(Settings.model_fields)))


def save_environment(name: str, document: Mapping[str, Any] | None = None) -> Environment:
    """Save the document of an environment, or a changed one, as a block, replacing the saved one."""
    block = Environment(**(document or read_document(name)))
    block.save(name, overwrite=True)
    return block


def current_settings() -> Settings:
    """Return what this process runs with, and load the secrets that it asks for.

    That is what `using` chose; else the block of the environment, where a Prefect server is configured
    and has it; else the environment's file.

    Raises:
        MissingSecret: A secret is neither in the environment of the process nor in its Secret block.
    """
    settings = chosen_settings() or _saved_settings(environment_name()) or read_settings()
    load_secrets(settings)
    return settings


def _saved_settings(name: str) -> Settings | None:
    if not PREFECT_API_URL.value():
        return None
    try:
        block = cast(Environment, Environment.load(name))
    except ValueError:
        return None
    return block.settings()
