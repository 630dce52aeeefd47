"""The manual of the command, `docs/cli.md`, generated from the application.

`python -m piecrust.cli.manual > docs/cli.md` writes it; a test compares.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from piecrust.cli.command_table import SECTIONS
from piecrust.cli.exit_codes import ExitCode

INTRODUCTION = """\
# The command `piecrust`

Generated from the application by `python -m piecrust.cli.manual > docs/cli.md`; a test keeps it true.

`piecrust` follows git. A store lives in `.piecrust/` in a directory and is found from anywhere below it. `HEAD` is
where you are: on a branch, or on a commit. `deploy` and `call` change the *working state*, which is on disk like
everything else and survives a crash; `commit` makes it permanent; `query` changes nothing.

## Revisions

| written | means |
|---|---|
| 64 hex digits, or the first 4 and more | a commit by its id |
| `main`, `v1`, `origin/main` | the commit of a branch or a tag, or of a branch of a remote as it was last seen |
| `HEAD`, `@` | the commit you are on |
| `REV~3`, `REV^2` | the third first-parent ancestor; the second parent |
| `main@{2}`, `@{2}` | where a branch, or HEAD, was two operations ago |
| `root:HEX` | the commit with this state root |
| `A..B` | what B has and A has not |

A bare hash that is only a state root works where one commit has it. What is ambiguous is an error that lists the
candidates.

## Contracts

A contract is named by its alias (`deploy --alias counter`), its id, or a unique prefix of it. Where a function takes a
`ContractId`, that names it, too: `piecrust query callcenter query_counter counter`.

## Arguments

| written | means |
|---|---|
| `u64:5`, `i16:-17`, `bool:true` | a number or a truth value of that type |
| `str:some text` | a `String` |
| `(u64, bool):(5, true)`, `Option<u8>:None`, `[u8; 2]:00ff`, `Vec<u64>:[1, 2]` | any type in Rust's notation |
| `hex:00ff`, `@FILE` | bytes, passed on as they are |
| `5` | a value of the type that the contract's interface gives |

Several arguments are passed as one tuple. `--returns TYPE` decodes the result; without it and without an interface
it is shown in hex.

## Output

Results go to stdout; progress, warnings, hints and errors to stderr, as `Error: ...`, `Caused by: ...` and `Hint:
...`. With `--json` every command answers with one line:

    {"schema": "piecrust.cli/1", "command": "root", "ok": true, "data": {...}, "warnings": [], "errors": []}

`ok` is true exactly when the exit code is 0. An error is `{"code", "message"}`; codes are stable. 64-bit integers (gas,
`u64`, `i64` and wider) are decimal strings, bytes are hex. Fields may be added to `data`; none changes its meaning
while the schema's number stays.

## Exit codes

| code | means |
|---|---|
"""

EXIT_CODE_MEANINGS = {
    ExitCode.OK: "done",
    ExitCode.NEGATIVE: "a negative verdict: revisions differ (`diff --exit-code`), a proof is false, damage was found",
    ExitCode.USAGE: "the command line does not make sense",
    ExitCode.NOT_FOUND: "a revision, contract, ref, file or store is not found, or is ambiguous",
    ExitCode.PANIC: "the contract panicked or trapped; the state is as before",
    ExitCode.OUT_OF_GAS: "out of gas, or out of time",
    ExitCode.CONFLICT: "locked, or somebody else was first, or it is refused as things are; nothing was written",
    ExitCode.CORRUPT: "the store, or a file that was read, is damaged",
    ExitCode.ABI: "bytecode, function, argument or result does not fit the contract's interface",
    ExitCode.BUG: "a bug in piecrust (`--debug` shows where)",
    ExitCode.INTERRUPTED: "interrupted by Ctrl-C; nothing was half-written",
    ExitCode.BROKEN_PIPE: "the reader of stdout went away",
}

ENVIRONMENT = """
## Environment

| variable | means |
|---|---|
| `PIECRUST_STORE` | the directory that holds `.piecrust/`, if `-C` does not say it |
| `PIECRUST_OWNER` | owner of deployed contracts (hex), if `--owner` does not say it |
| `PIECRUST_CACHE` | where compiled contracts are kept, instead of the user's cache directory |
| `PIECRUST_TRACKER` | `userfaultfd` or `compiled`: how writes are tracked |
| `PIECRUST_NATIVE` | `unchecked` or `public`: how the engine is called |
| `PIECRUST_PAGER`, `PAGER` | the pager; empty or `cat` for none |
| `NO_COLOR`, `CLICOLOR_FORCE` | never, or always, use colours |
"""


def manual() -> str:
    """The whole document."""
    codes = [f"| {code.value} | {EXIT_CODE_MEANINGS[code]} |\n" for code in ExitCode]
    parts = [INTRODUCTION, *codes, ENVIRONMENT, "\n## Options of every command\n\n", *_options(_shared())]
    for title, entries in SECTIONS.items():
        parts.append(f"\n## {title}\n")
        for entry in entries:
            parts.extend(_command(f"piecrust {entry.name}", _loaded(entry.name)))
    return "".join(parts)


def _loaded(name: str) -> Any:
    from piecrust.cli.app import app
    from typer.main import get_command

    return get_command(app).get_command(None, name)  # type: ignore[attr-defined]  # the root command is a group


def _shared() -> list[Any]:
    from piecrust.cli.command import shared_parameters

    return list(shared_parameters())


def _command(path: str, command: Any) -> Iterator[str]:
    """The section of a command, and of its sub-commands."""
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option" and not p.hidden]
    subs = getattr(command, "commands", None)
    pieces = [path, *(["[OPTIONS]"] if options else []), *(["COMMAND"] if subs else [])]
    pieces += [_argument_name(argument) for argument in arguments if not argument.hidden]
    yield f"\n### `{' '.join(pieces)}`\n\n{_markdown(command.help or '')}\n"
    described = [argument for argument in arguments if argument.help and not argument.hidden]
    if described or options:
        yield "\n"
        yield from _options([*described, *options])
    for name, sub in (subs or {}).items():
        yield from _command(f"{path} {name}", sub)


def _argument_name(argument: Any) -> str:
    name = argument.metavar or argument.name.upper()
    if not argument.required and not name.startswith("["):
        name = f"[{name}]"
    return f"{name}..." if argument.nargs == -1 and not name.endswith("...]") else str(name)


def _options(parameters: list[Any]) -> Iterator[str]:
    """A table of parameters."""
    yield "| | |\n|---|---|\n"
    for parameter in parameters:
        if parameter.param_type_name == "argument":
            names = f"`{(parameter.metavar or parameter.name.upper()).strip('[].')}`"
        else:
            value = "" if parameter.is_flag else f" {parameter.metavar or parameter.name.upper()}"
            names = ", ".join(f"`{name}{value}`" for name in (*parameter.opts, *parameter.secondary_opts))
        yield f"| {names.replace('|', chr(92) + '|')} | {(parameter.help or '').replace('|', chr(92) + '|')} |\n"


def _markdown(text: str) -> str:
    """A docstring with its examples as code blocks."""
    blocks = []
    for paragraph in re.split(r"\n\n+", text.strip()):
        lines = paragraph.splitlines()
        if any(line.startswith(" ") for line in lines):
            code = [line[2:] if line.startswith("  ") else line for line in lines if line.startswith(" ")]
            title = [line for line in lines if not line.startswith(" ")]
            language = "sh" if title == ["Examples:"] else "text"
            blocks.append("\n".join([*title, "", f"```{language}", *code, "```"]).strip())
        else:
            blocks.append(paragraph)
    return "\n\n".join(blocks)


if __name__ == "__main__":
    print(manual(), end="")
