"""What a user sets once: in the environment, or in `config.toml` in the user's configuration directory.

owner = "00ff..."        # of deployed contracts, in hex
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from piecrust.cli.command_errors import UsageError
from piecrust.cli.words import parse_hex

FALLBACK_OWNER = bytes(32)


def default_owner(environment: Mapping[str, str]) -> tuple[bytes, list[str]]:
    """The owner of contracts that are deployed without `--owner`, and what to tell about it."""
    if environment.get("PIECRUST_OWNER"):
        return parse_hex(environment["PIECRUST_OWNER"]), []
    owner = configuration(environment).get("owner")
    if owner is None:
        return FALLBACK_OWNER, ["--owner HEX sets the owner; PIECRUST_OWNER, or `owner` in the configuration, for all"]
    if not isinstance(owner, str):
        raise UsageError(f"owner in {configuration_file(environment)} is no text")
    return parse_hex(owner), []


def configuration_file(environment: Mapping[str, str]) -> Path:
    """Where the user's configuration is, whether or not it exists."""
    base = environment.get("XDG_CONFIG_HOME") or str(Path(environment.get("HOME", "~")).expanduser() / ".config")
    return Path(base) / "piecrust" / "config.toml"


def configuration(environment: Mapping[str, str]) -> dict[str, Any]:
    """The user's configuration; empty if there is none.

    Raises:
        UsageError: it is no TOML.
    """
    path = configuration_file(environment)
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}") from error
