"""What commands have in common: the forms of their arguments, and what these stand for."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from perennial.settings import Settings
    from perennial.workspace import Workspace

UseCaseName = Annotated[str, typer.Argument(help="Slug of the use case.", show_default=False)]
SomeUseCase = Annotated[str | None, typer.Argument(help="Slug of the use case; all without it.", show_default=False)]
PeriodLabel = Annotated[
    str | None, typer.Option("--period", help="As 2013, 2013-02 or 2013-02-28; by default the newest that has ended.")
]
AsOf = Annotated[str | None, typer.Option("--as-of", help="Decide with what was known then, UTC; by default now.")]
Env = Annotated[str | None, typer.Option("--env", help="dev, test or prod; by default what PERENNIAL_ENV says.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON value for machines.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show Prefect's own log.")]


def parse_as_of(text: str | None) -> datetime | None:
    """Read the value of `--as-of`; nothing stays nothing."""
    from flows.arguments import parse_moment

    return parse_moment(text) if text else None


def choose_environment(name: str | None) -> None:
    """Let `--env` say which environment is meant, for this process and those that it starts."""
    if name:
        from blocks.documents import enter

        enter(name)


def environment() -> "Settings":
    """Return the settings of the environment that the command runs in."""
    from blocks.local import local_settings

    return local_settings()


def open_workspace(slug: str) -> "Workspace":
    """Open a use case of this environment."""
    from perennial.workspace import Workspace

    return Workspace.open(slug, environment())


def slugs() -> list[str]:
    """Return the slugs of all use cases."""
    from perennial.use_case_file import use_case_slugs

    return use_case_slugs(Path(environment().use_cases))
