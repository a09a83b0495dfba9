"""How commands speak: rich text for people, one JSON value for machines, one clear message for an expected error."""

import json
import sys
from collections.abc import Callable
from datetime import datetime
from typing import Any

import typer
from pydantic import BaseModel
from rich.console import Console, RenderableType
from rich.text import Text

from perennial.errors import PerennialError, Transient

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)


class Commands(typer.core.TyperGroup):
    """The commands; an expected error of any of them is told without a traceback and ends with exit code 1."""

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        """Run the command that was asked for."""
        as_json = "--json" in ctx.args
        try:
            return super().invoke(ctx)
        except PerennialError as error:
            tell_error(error, as_json)
            raise typer.Exit(1) from None


def show(value: Any, draw: Callable[[], RenderableType | None], as_json: bool) -> None:
    """Print a value for machines, or what `draw` makes of it for people."""
    if as_json:
        sys.stdout.write(json.dumps(plain(value), indent=2, ensure_ascii=False) + "\n")
        return
    drawn = draw()
    if drawn is not None:
        console.print(drawn)


def plain(value: Any) -> Any:
    """Turn records and moments, also inside of lists and dictionaries, into plain JSON values."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return value.isoformat() if isinstance(value, datetime) else value


def tell_error(error: PerennialError, as_json: bool) -> None:
    """Say what went wrong and whether trying again helps: JSON on standard output, or red text on standard error."""
    name = type(error).__name__
    if as_json:
        told = {"error": name, "message": str(error), "retry": isinstance(error, Transient)}
        sys.stdout.write(json.dumps(told, ensure_ascii=False) + "\n")
    else:
        errors.print(Text.assemble((f"{name}: ", "bold red"), (str(error), "red"), f" {error.advice}"))
