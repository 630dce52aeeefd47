"""What every command shares: its result, the options that all accept, and the settings they give.

A command is a function that takes a `typer.Context` first, calls the library and returns an `Outcome`; it prints
nothing. `app` shows the outcome: as lines, or as an envelope with `--json`.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from piecrust.cli.exit_codes import ExitCode
from piecrust.cli.style import Style, style_for
from typer.core import TyperCommand


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command found or did.

    `data` goes into the envelope, `lines` to people; `hints` say what to type next and, as warnings, go to stderr.
    `raw` is bytes for stdout instead of lines (a memory dump into a pipe).
    """

    data: Mapping[str, Any]
    lines: Iterable[str] = ()
    exit_code: ExitCode = ExitCode.OK
    warnings: Sequence[str] = ()
    hints: Sequence[str] = ()
    paged: bool = False
    raw: bytes | None = None


@dataclass(slots=True)
class Settings:
    """What the options before and after the command's name asked for."""

    json: bool = False
    debug: bool = False
    no_pager: bool = False
    color: str = "auto"
    directory: Path | None = None
    command: str = ""
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)
    labels: dict[bytes, str] = field(default_factory=dict)  # names of contracts, once a store was opened
    damage: list[str] = field(default_factory=list)  # of the store; a command that only reads goes on, with a warning

    @property
    def style(self) -> Style:
        """How stdout is painted."""
        return style_for(sys.stdout, self.color, self.environment)

    @property
    def error_style(self) -> Style:
        """How stderr is painted."""
        return style_for(sys.stderr, self.color, self.environment)


def settings(context: typer.Context) -> Settings:
    """The settings of the invocation that `context` belongs to."""
    found = context.find_root().obj
    return found if isinstance(found, Settings) else Settings()


def _remember(context: typer.Context, parameter: typer.CallbackParam, value: Any) -> Any:
    """Note a shared option, wherever on the command line it stood; one that is absent changes nothing."""
    if value not in (None, False) and parameter.name is not None:
        kept = settings(context)
        if parameter.name == "color" and value not in ("auto", "always", "never"):
            raise typer.BadParameter("one of auto, always, never", ctx=context, param_hint="'--color'")
        setattr(kept, parameter.name, Path(value) if parameter.name == "directory" else value)
    return value


def _shared_options(
    *,
    json: Annotated[
        bool, typer.Option("--json", help="Answer with one JSON envelope.", callback=_remember, expose_value=False)
    ] = False,
    directory: Annotated[
        str | None,
        typer.Option(
            "-C",
            "--directory",
            metavar="DIR",
            help="The store is in DIR, not in this directory or one above it.",
            callback=_remember,
            expose_value=False,
        ),
    ] = None,
    color: Annotated[
        str | None,
        typer.Option("--color", metavar="WHEN", help="auto, always or never.", callback=_remember, expose_value=False),
    ] = None,
    no_pager: Annotated[
        bool, typer.Option("--no-pager", help="Never start a pager.", callback=_remember, expose_value=False)
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error.", callback=_remember, expose_value=False)
    ] = False,
) -> None:
    """Exists for its parameters: every command accepts them, before or after its name."""


NUMBERS = {int: "a whole number", float: "a number"}
PLAIN_ANNOTATIONS = (str, list[str], bool, *NUMBERS)


@functools.cache
def shared_parameters() -> tuple[Any, ...]:
    """The parameters of `_shared_options` as Typer makes them."""
    application = typer.Typer(add_completion=False)
    application.command()(_shared_options)
    return tuple(typer.main.get_command(application).params)


def without_pydantic(parameter: Any) -> Any:
    """Let a parameter of strings or numbers read its words itself.

    Typer converts words through pydantic, whose import (50 ms) would be half of a short command's time. What is
    missing, wrong or of another type goes Typer's way, for its messages.
    """
    annotation = getattr(getattr(parameter, "type_descriptor", None), "annotation", None)
    if annotation is None or hasattr(parameter, "_reads_plainly"):
        return parameter
    convert = parameter.process_value

    def process_value(context: Any, value: Any) -> Any:
        many = parameter.multiple or parameter.nargs == -1
        if value is None and not parameter.required:
            plain: Any = () if many else None
        elif annotation not in PLAIN_ANNOTATIONS:
            return convert(context, value)
        elif annotation in NUMBERS and isinstance(value, str | int | float):
            plain = _number(annotation, value, context, parameter)
        elif value and isinstance(value, list | tuple if many else str | bool):
            plain = value
        else:
            return convert(context, value)
        return plain if parameter.callback is None else parameter.callback(context, parameter, plain)

    parameter.process_value = process_value
    parameter._reads_plainly = True  # noqa: SLF001  (a mark on the object, so that it is wrapped once)
    return parameter


def _number(kind: type[int | float], value: str | float, context: Any, parameter: Any) -> int | float:
    try:
        return kind(value)
    except ValueError:
        raise typer.BadParameter(f"{value!r} is not {NUMBERS[kind]}", ctx=context, param=parameter) from None


class PiecrustCommand(TyperCommand):
    """A command that also accepts the shared options, and whose help keeps its examples as they were typed."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Its own parameters, the shared ones, then `--help`."""
        own = super().get_params(ctx)
        names = {parameter.name for parameter in own}
        shared = [parameter for parameter in shared_parameters() if parameter.name not in names]
        return [without_pydantic(parameter) for parameter in (*own[:-1], *shared, *own[-1:])]

    def invoke(self, ctx: Any) -> Any:
        """Run the command, after noting its full name for the envelope."""
        settings(ctx).command = command_name(ctx)
        return super().invoke(ctx)

    def format_help_text(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002  (click's signature)
        """The docstring, paragraphs refilled, indented lines (the examples) kept."""
        write_help_text(self.help or "", formatter)


def command_name(context: Any) -> str:
    """The words that name the command: `meta set`."""
    return str(context.command_path).partition(" ")[2]


def write_help_text(text: str, formatter: Any) -> None:
    """Write a docstring into the help: paragraphs are refilled, blocks that contain indented lines are kept."""
    for paragraph in text.split("\n\n"):
        formatter.write_paragraph()
        with formatter.indentation():
            if any(line.startswith(" ") for line in paragraph.splitlines()):
                for line in paragraph.splitlines():
                    formatter.write(f"{'':{formatter.current_indent}}{line}\n")
            else:
                formatter.write_text(paragraph)
