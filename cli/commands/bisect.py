"""`bisect`: which commit changed a behaviour."""

from __future__ import annotations

import operator
import re
import shlex
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer
from piecrust.cli.arguments import TypedArgument, parse_argument, values
from piecrust.cli.command import Outcome, PiecrustCommand, Settings, settings
from piecrust.cli.command_errors import CommandError, UsageError
from piecrust.cli.errors import reason_of
from piecrust.cli.execution import HostQueries
from piecrust.cli.exit_codes import ExitCode
from piecrust.cli.host_queries import register_host_queries
from piecrust.cli.interfaces import function_in
from piecrust.cli.render import count
from piecrust.cli.value_writer import show_value
from piecrust.cli.working_state import opened, opened_vm
from piecrust.objects.history import commit_info
from piecrust.objects.ids import CommitId
from piecrust.vm.bisection import Bisection, BisectionState

if TYPE_CHECKING:
    from piecrust.cli.working_state import WorkingState
    from piecrust.vm.rkyv.types import RustType

SKIP_CODE = 125  # as git has it: this commit can not be judged
GIVE_UP_CODES = range(128, 256)
STDERR = 2  # the descriptor
COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}

bisect = typer.Typer(
    help="Find the commit that changed a behaviour, in as few steps as possible.\n\n"
    "Start with a bad commit, which has the change, and a good one, which has not; then say of each commit that "
    "HEAD is moved to whether it is good or bad, or let `run` find out.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)
Revision = Annotated[str | None, typer.Argument(metavar="[REV]", help="By default HEAD.")]


@bisect.command("start", cls=PiecrustCommand)
def bisect_start(
    context: typer.Context,
    bad: Annotated[str | None, typer.Argument(metavar="[REV]", help="A commit that has the change.")] = None,
    good: Annotated[list[str] | None, typer.Argument(metavar="[REV]", help="Commits that have it not.")] = None,
) -> Outcome:
    """Begin a bisection.

    Examples:
      piecrust bisect start main main~20
    """
    with opened(context) as at:
        goods = [at.commit(revision) for revision in good or ()]
        state = Bisection(at.store).start(None if bad is None else at.commit(bad), goods)
        return _outcome(context, at, state)


@bisect.command("good", cls=PiecrustCommand)
def bisect_good(context: typer.Context, revision: Revision = None) -> Outcome:
    """Say that a commit does not have the change.

    Examples:
      piecrust bisect good
    """
    return _mark(context, revision, "good")


@bisect.command("bad", cls=PiecrustCommand)
def bisect_bad(context: typer.Context, revision: Revision = None) -> Outcome:
    """Say that a commit has the change.

    Examples:
      piecrust bisect bad
    """
    return _mark(context, revision, "bad")


@bisect.command("skip", cls=PiecrustCommand)
def bisect_skip(context: typer.Context, revision: Revision = None) -> Outcome:
    """Say that a commit can not be judged.

    Examples:
      piecrust bisect skip
    """
    return _mark(context, revision, "skip")


@bisect.command("status", cls=PiecrustCommand)
def bisect_status(context: typer.Context) -> Outcome:
    """Say how far the bisection is.

    Examples:
      piecrust bisect status
    """
    with opened(context, read_only=True) as at:
        return _outcome(context, at, Bisection(at.store).state())


@bisect.command("reset", cls=PiecrustCommand)
def bisect_reset(context: typer.Context) -> Outcome:
    """End the bisection; HEAD goes back to where it was.

    Examples:
      piecrust bisect reset
    """
    with opened(context) as at:
        begin = Bisection(at.store).reset()
        head = at.head
    where = begin.short() if isinstance(begin, CommitId) else begin.name.removeprefix("heads/")
    return Outcome({"branch": head.branch, "commit": head.commit}, [f"HEAD is back on {where}"])


@bisect.command("run", cls=PiecrustCommand, context_settings={"ignore_unknown_options": True})
def bisect_run(
    context: typer.Context,
    command: Annotated[
        list[str] | None, typer.Argument(metavar="[COMMAND]", help="A program and its arguments, after `--`.")
    ] = None,
    *,
    expression: Annotated[
        str | None,
        typer.Option("--query", "-q", metavar="EXPRESSION", help="CONTRACT FUNCTION [ARG...] OPERATOR VALUE"),
    ] = None,
    host_queries: HostQueries = None,
) -> Outcome:
    """Judge the commits by a command or a query, until the culprit is found.

    A command runs with HEAD on the commit: exit code 0 means good, 125 that it can not be judged, others below 128
    bad. A query is good where its expression is true; the value on its right has its type written.

    Examples:
      piecrust bisect run --query 'counter read_value < i64:300'
      piecrust bisect run -- ./check.sh
    """
    if (expression is None) == (not command):
        raise UsageError(
            "either a command or --query", hints=["piecrust bisect run --query 'counter read_value < i64:3'"]
        )
    judge = (
        _command_judge(command or [], settings(context))
        if expression is None
        else _query_judge(context, expression, host_queries or [])
    )
    steps: list[dict[str, Any]] = []
    while True:
        with opened(context) as at:
            state = Bisection(at.store).state()
            if state.next is None:
                outcome = _outcome(context, at, state)
                return Outcome({**outcome.data, "steps": steps}, [*_step_lines(steps), *outcome.lines])
        verdict, shown = judge(state.next)
        steps.append({"commit": state.next, "verdict": verdict, "result": shown})
        with opened(context) as at:
            Bisection(at.store).mark(state.next, verdict)


def _step_lines(steps: list[dict[str, Any]]) -> list[str]:
    return [f"{step['commit'].hex()[:12]} {step['verdict']}  {step['result']}".rstrip() for step in steps]


def _mark(context: typer.Context, revision: str | None, verdict: str) -> Outcome:
    with opened(context) as at:
        state = Bisection(at.store).mark(at.commit(revision or "HEAD"), verdict)
        return _outcome(context, at, state)


def _outcome(context: typer.Context, at: WorkingState, state: BisectionState) -> Outcome:
    style = settings(context).style
    data = {
        "bad": state.bad,
        "good": list(state.good),
        "candidates": list(state.candidates),
        "next": state.next,
        "culprit": state.culprit,
    }
    if state.culprit is not None:
        message = commit_info(at.store, state.culprit).message or ""
        found = f"{style.commit(state.culprit.hex())} brought the change"
        return Outcome(
            data, [found, *(f"    {line}" for line in message.splitlines())], hints=["piecrust bisect reset"]
        )
    if state.next is not None:
        left = count(len(state.candidates), "commit")
        here = f"{left} left; HEAD is on {style.commit(state.next.short())}"
        return Outcome(data, [here], hints=["piecrust bisect good, bad or skip"])
    if state.candidates:
        return Outcome(data, ["The rest was skipped; it is one of", *(f"  {each.hex()}" for each in state.candidates)])
    if state.bad is not None and state.good:
        return Outcome(
            data,
            ["Nothing can have brought the change: the bad commit comes before a good one"],
            ExitCode.NEGATIVE,
            hints=["piecrust bisect start BAD GOOD   (BAD has the change, GOOD comes before it)"],
        )
    missing = "a bad commit" if state.bad is None else "a good commit"
    return Outcome(data, [f"{missing} is needed"], hints=[f"piecrust bisect {missing.split()[1]} REV"])


Judge = Callable[[CommitId], tuple[str, str]]


class BisectGaveUp(CommandError):
    """The command that judges the commits ended in a way that is no verdict."""

    exit_code = ExitCode.NEGATIVE


def _command_judge(command: list[str], current: Settings) -> Judge:
    stdout = STDERR if current.json else None  # what the command says must not mix with the envelope

    def judge(commit: CommitId) -> tuple[str, str]:
        try:
            code = subprocess.run(command, check=False, stdout=stdout).returncode  # noqa: S603  (the user's own command)
        except OSError as error:
            raise UsageError(f"cannot run {shlex.join(command)}: {reason_of(error)}") from None
        if code < 0 or code in GIVE_UP_CODES:
            raise BisectGaveUp(f"{shlex.join(command)} ended with {code} on {commit.short()}")
        return ("good" if code == 0 else "skip" if code == SKIP_CODE else "bad"), f"exit code {code}"

    return judge


@dataclass(frozen=True, slots=True)
class Expression:
    """A query and what its result is compared with."""

    contract: str
    function: str
    arguments: list[str]
    compare: Callable[[Any, Any], bool]
    type: RustType
    value: Any


def parse_expression(text: str) -> Expression:
    """The expression that `CONTRACT FUNCTION [ARG...] OPERATOR TYPE:VALUE` writes.

    Raises:
        UsageError: it is something else.
    """
    hints = ["'counter read_value < i64:300'"]
    found = re.fullmatch(r"(.*?)\s*(==|!=|<=|>=|<|>)\s*([^<>=!]+)", text.strip(), re.DOTALL)
    words = shlex.split(found[1]) if found is not None else []
    if found is None or len(words) < 2:
        raise UsageError(f"{text!r} is not CONTRACT FUNCTION [ARG...] OPERATOR VALUE", hints=hints)
    right = parse_argument(found[3].strip())
    if not isinstance(right, TypedArgument):
        raise UsageError(f"the type of {found[3].strip()!r} must be written", hints=hints)
    return Expression(words[0], words[1], words[2:], COMPARISONS[found[2]], right.type, right.value)


def _query_judge(context: typer.Context, text: str, host_queries: list[str]) -> Judge:
    expression = parse_expression(text)

    def judge(commit: CommitId) -> tuple[str, str]:
        with opened_vm(context, read_only=True) as (at, vm):
            register_host_queries(vm, host_queries)
            state = at.state(commit)
            contract = at.contract(expression.contract, state)
            described = function_in(at.interface(contract, state), expression.function)
            passed = values(expression.arguments, described, lambda name: at.contract(name, state))
            with vm.session(commit) as session:
                result = session.query(contract, expression.function, *passed, returns=expression.type).data
        good = expression.compare(result, expression.value)
        return "good" if good else "bad", show_value(expression.type, result)

    return judge
