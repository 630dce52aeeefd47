"""The Typer application: finds commands by the table, runs them, shows what they give.

- A command's module is imported when it is invoked, never to list it.
- Whatever a command raises leaves as one of the frozen exit codes and a few lines on stderr; a traceback only with
  `--debug`.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Annotated, Any, NoReturn

import typer
from piecrust.cli.command import Outcome, PiecrustCommand, Settings, shared_parameters, without_pydantic
from piecrust.cli.command_errors import UnknownCommand
from piecrust.cli.command_table import COMMANDS, SECTIONS, CommandEntry
from piecrust.cli.envelope import ErrorEntry, envelope
from piecrust.cli.errors import Problem, problem_of, reason_of
from piecrust.cli.exit_codes import ExitCode
from piecrust.cli.interrupts import die_on_interrupt
from piecrust.cli.streams import forgive_encoding, open_descriptors, silence_stdout, tell
from typer.core import TyperGroup


class PiecrustGroup(TyperGroup):
    """The commands of the table, imported on demand."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002  (click's signature)
        """All names, in the table's order."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002  (click's signature)
        """The command of that name, or None; imports its module."""
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        if cmd_name not in self.commands:
            module = importlib.import_module(f"piecrust.cli.commands.{entry.module}")
            self.commands[cmd_name] = _as_command(entry, getattr(module, entry.attribute))
        return self.commands[cmd_name]

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """As click does, but a word that is no command says which ones are near."""
        if args and not args[0].startswith("-") and args[0] not in COMMANDS and not ctx.resilient_parsing:
            raise UnknownCommand(args[0], tuple(get_close_matches(args[0], COMMANDS)))
        return super().resolve_command(ctx, args)

    def get_params(self, ctx: Any) -> list[Any]:
        """The group's own parameters, the shared ones, then `--help`."""
        own = super().get_params(ctx)
        return [without_pydantic(parameter) for parameter in (*own[:-1], *shared_parameters(), *own[-1:])]

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002  (click's signature)
        """The table, by sections."""
        for title, entries in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(entry.name, entry.summary) for entry in entries])

    def main(self, args: Sequence[str] | None = None, prog_name: str | None = None, *_: Any, **extra: Any) -> NoReturn:
        """Run one command line to its end: print, and exit with a code of `ExitCode`."""
        words = list(sys.argv[1:] if args is None else args)
        forgive_encoding()
        extra.pop("standalone_mode", None)
        current = Settings()
        showing = False
        try:
            try:
                result = super().main(words, prog_name or "piecrust", standalone_mode=False, obj=current, **extra)
                showing = True
                code = _show(result, current)
            except KeyboardInterrupt:
                code = ExitCode.INTERRUPTED
            except BrokenPipeError:
                raise
            except Exception as error:
                if showing and isinstance(error, OSError):
                    raise
                code = _fail(error, current, words)
            sys.stdout.flush()
        except BrokenPipeError:
            silence_stdout()
            code = ExitCode.BROKEN_PIPE
        except OSError as error:
            silence_stdout()
            tell(f"{current.error_style.error('Error:')} cannot write to standard output: {reason_of(error)}")
            code = ExitCode.CONFLICT
        except SystemExit:  # how the parser ends when the reader of its help went away
            silence_stdout()
            code = ExitCode.BROKEN_PIPE
        sys.exit(int(code))


def _as_command(entry: CommandEntry, found: Any) -> Any:
    """The click command for a function of a command module, or for its sub-application."""
    if isinstance(found, typer.Typer):
        return typer.main.get_command(found)
    application = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    context = {"ignore_unknown_options": entry.reads_options}
    application.command(entry.name, cls=PiecrustCommand, context_settings=context)(found)
    return typer.main.get_command(application)


def _show(result: Any, current: Settings) -> ExitCode:
    """Print an outcome; `result` is the exit code itself where click answered (`--help`, `--version`)."""
    if not isinstance(result, Outcome):
        return ExitCode(result or 0)
    warnings = [*current.damage, *result.warnings]
    if current.json:
        print(envelope(current.command, ok=result.exit_code == 0, data=result.data, warnings=warnings))
        return result.exit_code
    if result.raw is not None:
        sys.stdout.buffer.write(result.raw)
    elif result.paged:
        from piecrust.cli.pager import page

        page(result.lines, enabled=not current.no_pager, environment=current.environment)
    else:
        for line in result.lines:
            print(line)
    _print_warnings(warnings, current)
    for hint in result.hints:
        tell(f"{current.error_style.hint('Hint:')} {hint}")
    return result.exit_code


def _fail(error: Exception, current: Settings, words: list[str]) -> ExitCode:
    """Say what went wrong, in an envelope or on stderr; a command line that ends too early is told what may follow.

    What a damaged store does not have may have been lost: that it is missing is no answer, the damage is.
    """
    if type(error).__name__ == "NoArgsIsHelpError" and not current.json:
        print(str(error))
        return ExitCode.USAGE
    if current.debug or "--debug" in words:
        import traceback

        traceback.print_exception(error)
    typed = current.command or next((word for word in words if word in COMMANDS), "")
    problem = problem_of(error, current.labels, typed)
    # An error of parsing comes before `--json` is seen as an option.
    if current.json or "--json" in words:
        entry = ErrorEntry(problem.code, problem.message)
        name = current.command or problem.command or typed
        print(envelope(name, ok=False, data=problem.data, errors=[entry], warnings=current.damage))
    else:
        _print_problem(problem, current)
        _print_warnings(current.damage, current)
    lost = problem.exit_code is ExitCode.NOT_FOUND and bool(current.damage)
    return ExitCode.CORRUPT if lost else problem.exit_code


def _print_warnings(warnings: Sequence[str], current: Settings) -> None:
    for warning in warnings:
        tell(f"{current.error_style.changed('Warning:')} {warning}")


def _print_problem(problem: Problem, current: Settings) -> None:
    """The lines of an error as people read them: what, why, what to type next."""
    style = current.error_style
    tell(f"{style.error('Error:')} {problem.message}")
    for detail in problem.details:
        tell(f"  {detail}")
    for cause in problem.causes:
        tell(f"{style.heading('Caused by:')} {cause}")
    for hint in problem.hints:
        tell(f"{style.hint('Hint:')} {hint}")


def _version(*, value: bool) -> None:
    if value:
        from importlib.metadata import version

        print(f"piecrust {version('piecrust-vm')}")
        raise typer.Exit


app = typer.Typer(
    name="piecrust",
    cls=PiecrustGroup,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
)


@app.callback()
def piecrust(
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """A git-style store of WebAssembly contract state.

    `piecrust demo` shows the model in one minute; `piecrust COMMAND --help` has examples.
    """


def main() -> NoReturn:
    """The command `piecrust`."""
    open_descriptors()
    die_on_interrupt()
    app()
    raise AssertionError("the application exits by itself")
