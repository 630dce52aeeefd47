"""Whether a store is a lazy clone: the list of remotes says so, for one that has what the store lacks."""

from __future__ import annotations

import json

from piecrust.objects.disk import store_error
from piecrust.objects.errors import CorruptStore
from piecrust.objects.format import Layout


def lazy_remote(layout: Layout) -> str | None:
    """The name of the remote that has what the store lacks; None if the store is whole.

    Raises:
        CorruptStore: the list of remotes is damaged.
    """
    try:
        entries = json.loads(layout.remotes.read_bytes())["remotes"]
        return next((str(name) for name, entry in sorted(entries.items()) if entry["lazy"] is True), None)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise store_error(layout.remotes, "read", error) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptStore(layout.remotes, 0, f"not a list of remotes: {error}") from error


def is_lazy(layout: Layout) -> bool:
    """Whether a remote has what the store lacks."""
    return lazy_remote(layout) is not None
