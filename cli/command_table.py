"""Every command by name, with the module that implements it: what `--help` shows without importing any of them.

A command `op-log` is the function (or, with sub-commands, the `typer.Typer`) named `op_log` in the module that the
entry names, below `piecrust.cli.commands`.
"""

from __future__ import annotations

from dataclasses import dataclass
from keyword import iskeyword


@dataclass(frozen=True, slots=True)
class CommandEntry:
    """Where a command lives and what it is for, in one line."""

    name: str
    module: str
    summary: str
    reads_options: bool = False  # options that it does not declare are among its arguments, in their order

    @property
    def attribute(self) -> str:
        """The name of the function or sub-application in its module; keywords have an underscore behind them."""
        name = self.name.replace("-", "_")
        return f"{name}_" if iskeyword(name) else name


SECTIONS: dict[str, tuple[CommandEntry, ...]] = {
    "Start": (
        CommandEntry("init", "start", "Create a store in a directory."),
        CommandEntry("demo", "demo", "Show the whole model on a counter contract."),
        CommandEntry("doctor", "doctor", "Say what this machine offers and how the store is."),
        CommandEntry("completion", "completion", "Print the completion script of a shell."),
    ),
    "Contracts and the working state": (
        CommandEntry("status", "status", "Where you are and what is not committed."),
        CommandEntry("deploy", "deploy", "Deploy a contract into the working state."),
        CommandEntry("call", "call", "Call a contract; changes the working state."),
        CommandEntry("query", "call", "Call a contract and keep nothing."),
        CommandEntry("run", "run", "Execute a file of deploys and calls, commit once."),
        CommandEntry("migrate", "deploy", "Replace a contract's code, keep its id."),
        CommandEntry("meta", "meta", "Session metadata that contracts read."),
        CommandEntry("alias", "alias", "Names for contracts."),
        CommandEntry("abi", "abi", "The interface that a contract carries."),
        CommandEntry("contracts", "contracts", "List the contracts of a revision."),
        CommandEntry("memory", "contracts", "Read a contract's memory."),
        CommandEntry("root", "contracts", "Print the state root."),
    ),
    "History": (
        CommandEntry("commit", "commit", "Make the working state permanent."),
        CommandEntry("log", "log", "Show commits, newest first."),
        CommandEntry("show", "log", "Show one commit and what it did."),
        CommandEntry("diff", "diff", "Compare two revisions, down to bytes and values."),
        CommandEntry("checkout", "branches", "Open the working state on any revision."),
        CommandEntry("switch", "branches", "Move to a branch."),
        CommandEntry("branch", "branches", "List, create or delete branches."),
        CommandEntry("tag", "branches", "List, create or delete tags."),
        CommandEntry("merge", "merge", "Join another branch into this one."),
        CommandEntry("restore", "restore", "Take a state or a contract from another revision."),
        CommandEntry("bisect", "bisect", "Find the commit that changed a behaviour."),
        CommandEntry("undo", "undo", "Take back the last operation."),
        CommandEntry("redo", "undo", "Do again what undo took back."),
        CommandEntry("op-log", "undo", "List the operations on this store."),
    ),
    "Proofs": (
        CommandEntry("prove", "proofs", "Write a proof about the state of a commit.", reads_options=True),
        CommandEntry("verify", "proofs", "Check a proof, without a store."),
        CommandEntry("inspect", "proofs", "Print what a proof claims."),
    ),
    "Commits in files": (
        CommandEntry("export", "bundles", "Write a commit to a file, or a contract's memory."),
        CommandEntry("import", "bundles", "Take a bundle into the store."),
        CommandEntry("import-raw", "bundles", "Commit a memory image."),
        CommandEntry("import-original", "original", "Take commits out of a directory of the Rust VM."),
        CommandEntry("replay", "replay", "Execute commits again and compare."),
    ),
    "Commits in other places": (
        CommandEntry("clone", "remotes", "Make a store of a remote."),
        CommandEntry("remote", "remotes", "Name the remotes: directories and S3."),
        CommandEntry("fetch", "remotes", "Bring what a remote has."),
        CommandEntry("pull", "remotes", "Fetch, and join it into this branch."),
        CommandEntry("push", "remotes", "Send branches and tags to a remote."),
    ),
    "Care of the store": (
        CommandEntry("gc", "maintenance", "Remove what nothing refers to."),
        CommandEntry("fsck", "maintenance", "Check the store for damage."),
        CommandEntry("stats", "stats", "Sizes and growth, with a plot."),
    ),
    "Plumbing": (
        CommandEntry("cat-object", "plumbing", "Print one stored object."),
        CommandEntry("rev-parse", "plumbing", "Turn revisions into commit ids."),
        CommandEntry("delete-commit", "plumbing", "Give commits up; `gc` takes their room back."),
        CommandEntry("finalize-commit", "plumbing", "Pin a commit and its ancestors for ever."),
        CommandEntry("ls-contracts", "plumbing", "List contracts, one per line, for scripts."),
    ),
}

COMMANDS: dict[str, CommandEntry] = {entry.name: entry for section in SECTIONS.values() for entry in section}
