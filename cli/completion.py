"""Shell completion: what may stand where the cursor is.

The scripts of the shells call `piecrust completion --words INDEX -- WORD...` with the words of the line; the answer is
a candidate a line, its description after a tab. What an argument may be follows from its metavar: `REV`, `CONTRACT`,
`FUNCTION`, ...; for `FILE` and `DIR` nothing is answered, and the shell completes files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from piecrust.cli.command_table import COMMANDS

CANDIDATES_MAX = 200


@dataclass(frozen=True, slots=True)
class Candidate:
    """A word that may stand here."""

    word: str
    description: str = ""


@dataclass(slots=True)
class Line:
    """What the words before the cursor say."""

    directory: Path | None = None
    command: Any = None
    name: str = ""
    arguments: list[str] = field(default_factory=list)
    awaiting: Any = None  # the option whose value comes next
    only_arguments: bool = False


def candidates(words: Sequence[str], incomplete: str) -> list[Candidate]:
    """What may stand after `words` (without the program's name) and begins with `incomplete`."""
    from piecrust.cli.app import app
    from typer.main import get_command

    line = _read(get_command(app), words)
    if line.awaiting is not None:
        return _values(line, line.awaiting, incomplete.removeprefix("="))
    if incomplete.startswith("--") and "=" in incomplete and not line.only_arguments:
        return _values_of_option(line, *incomplete.split("=", 1))
    if incomplete.startswith("-") and not line.only_arguments:
        return _begin(_options(line.command), incomplete)
    names = getattr(line.command, "commands", None)
    if names is not None:
        return _begin(_sub_commands(line), incomplete)
    return _values(line, _argument_at(line.command, len(line.arguments)), incomplete)


def _values_of_option(line: Line, name: str, incomplete: str) -> list[Candidate]:
    """The values of `--option=value` in one word."""
    option = _option(line.command, name)
    found = [] if option is None or option.is_flag else _values(line, option, incomplete)
    return [Candidate(f"{name}={candidate.word}", candidate.description) for candidate in found]


def _read(root: Any, words: Sequence[str]) -> Line:
    """Follow the words from the root command on, as its parser would."""
    line = Line(command=root)
    for word in words:
        if line.awaiting is not None:
            if word == "=":  # bash makes three words of `--option=value`
                continue
            if "--directory" in line.awaiting.opts:
                line.directory = Path(word)
            line.awaiting = None
        elif word == "--" and not line.only_arguments:
            line.only_arguments = True
        elif word.startswith("-") and not line.only_arguments:
            option = _option(line.command, word.partition("=")[0])
            if option is not None and not option.is_flag and "=" not in word:
                line.awaiting = option
        elif getattr(line.command, "commands", None) is not None:
            found = line.command.get_command(None, word)
            if found is None:
                return Line(directory=line.directory, command=None)
            line.command, line.name = found, f"{line.name} {word}".strip()
        else:
            line.arguments.append(word)
    return line


def _parameters(command: Any) -> list[Any]:
    if command is None:
        return []
    import typer

    return list(command.get_params(typer.Context(command)))


def _option(command: Any, name: str) -> Any:
    """The option of that name, or None."""
    matching = [
        p for p in _parameters(command) if p.param_type_name == "option" and name in (*p.opts, *p.secondary_opts)
    ]
    return matching[0] if matching else None


def _options(command: Any) -> list[Candidate]:
    """The long names of the command's options."""
    return [
        Candidate(name, parameter.help or "")
        for parameter in _parameters(command)
        if parameter.param_type_name == "option" and not parameter.hidden
        for name in (*parameter.opts, *parameter.secondary_opts)
        if name.startswith("--")
    ]


def _sub_commands(line: Line) -> list[Candidate]:
    if not line.name:
        return [Candidate(entry.name, entry.summary) for entry in COMMANDS.values()]
    return [Candidate(name, command.get_short_help_str(80)) for name, command in line.command.commands.items()]


def _argument_at(command: Any, index: int) -> Any:
    """The positional parameter that takes the argument at `index`; the last one may take several."""
    positional = [parameter for parameter in _parameters(command) if parameter.param_type_name == "argument"]
    if index < len(positional):
        return positional[index]
    return positional[-1] if positional and positional[-1].nargs == -1 else None


def _values(line: Line, parameter: Any, incomplete: str) -> list[Candidate]:
    """The values of a parameter, by its metavar."""
    metavar = (getattr(parameter, "metavar", None) or "").strip("[].")
    if metavar in CHOICES:
        return _begin([Candidate(word) for word in CHOICES[metavar]], incomplete)
    source = SOURCES.get(metavar)
    if source is None:
        return []
    return _begin(source(line, incomplete), incomplete)


def _begin(found: Iterable[Candidate], incomplete: str) -> list[Candidate]:
    """Those that begin with what is typed, in order, each once."""
    unique = {candidate.word: candidate for candidate in found if candidate.word.startswith(incomplete)}
    return list(unique.values())[:CANDIDATES_MAX]


def _revisions(line: Line, incomplete: str) -> list[Candidate]:
    from piecrust.cli.known_words import known_revisions

    before, dots, last = incomplete.rpartition("..")
    return [Candidate(before + dots + word, text) for word, text in known_revisions(line.directory, last)]


def _branches(line: Line, _: str) -> list[Candidate]:
    from piecrust.cli.known_words import known_names

    return [Candidate(word, text) for word, text in known_names(line.directory, "heads/")]


def _tags(line: Line, _: str) -> list[Candidate]:
    from piecrust.cli.known_words import known_names

    return [Candidate(word, text) for word, text in known_names(line.directory, "tags/")]


def _contracts(line: Line, _: str) -> list[Candidate]:
    from piecrust.cli.known_words import known_contracts

    return [Candidate(word, text) for word, text in known_contracts(line.directory)]


def _functions(line: Line, _: str) -> list[Candidate]:
    from piecrust.cli.known_words import known_functions

    return [Candidate(name) for name in known_functions(line.directory, line.arguments)]


SOURCES: dict[str, Callable[[Line, str], list[Candidate]]] = {
    "REV": _revisions,
    "BRANCH": _branches,
    "TAG": _tags,
    "CONTRACT": _contracts,
    "FUNCTION": _functions,
}
CHOICES: dict[str, tuple[str, ...]] = {"SHELL": ("bash", "zsh", "fish"), "WHEN": ("auto", "always", "never")}

SCRIPTS = {
    "bash": r"""
_piecrust() {
    local IFS=$'\n'
    COMPREPLY=($(piecrust completion --words "$COMP_CWORD" -- "${COMP_WORDS[@]}" 2>/dev/null | cut -f1))
}
complete -o default -o nosort -F _piecrust piecrust
""",
    "zsh": r"""
#compdef piecrust
_piecrust() {
    local -a found
    local line
    while IFS= read -r line; do
        local word="${${line%%$'\t'*}//:/\\:}" about="${line#*$'\t'}"
        found+=("$word${about:+:$about}")
    done < <(piecrust completion --words $((CURRENT - 1)) -- "${words[@]}" 2>/dev/null)
    if (( $#found )); then _describe 'piecrust' found; else _files; fi
}
compdef _piecrust piecrust
""",
    "fish": r"""
function __piecrust
    set -l words (commandline -opc)
    set -l found (piecrust completion --words (count $words) -- $words (commandline -ct) 2>/dev/null)
    if count $found >/dev/null
        printf '%s\\n' $found
    else
        __fish_complete_path (commandline -ct)
    end
end
complete -c piecrust -f -a '(__piecrust)'
""",
}
