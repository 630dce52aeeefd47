"""`completion`: what makes a shell complete piecrust's words."""

from __future__ import annotations

from typing import Annotated

import typer
from piecrust.cli.command import Outcome
from piecrust.cli.command_errors import UsageError


def completion(
    shell: Annotated[str | None, typer.Argument(metavar="[SHELL]", help="bash, zsh or fish.")] = None,
    line: Annotated[list[str] | None, typer.Argument(metavar="[WORD...]", hidden=True)] = None,
    *,
    words: Annotated[int | None, typer.Option(hidden=True, help="Index of the word at the cursor.")] = None,
) -> Outcome:
    """Print the script that makes a shell complete commands, revisions, contracts and functions.

    Examples:
      source <(piecrust completion bash)        # in ~/.bashrc; zsh alike, in ~/.zshrc after compinit
      piecrust completion fish > ~/.config/fish/completions/piecrust.fish
    """
    from piecrust.cli.completion import SCRIPTS, candidates

    if words is not None:
        typed = [word for word in (shell, *(line or ())) if word is not None]
        incomplete = typed[words] if words < len(typed) else ""
        found = candidates(typed[1:words], incomplete)
        return Outcome(
            {"candidates": [{"word": item.word, "description": item.description} for item in found]},
            [f"{item.word}\t{item.description}" for item in found],
        )
    if shell not in SCRIPTS:
        raise UsageError(
            f"there is no completion for {shell!r}" if shell else "which shell?", hints=["piecrust completion bash"]
        )
    return Outcome({"shell": shell, "script": SCRIPTS[shell]}, SCRIPTS[shell].strip().splitlines())
