"""Events: what contracts tell the world while they run.

The events of a call are kept in one list. A failed callee's stay in it, marked reverted; so do those of a failed
top-level call, which come first in the next receipt of the session.
"""

from __future__ import annotations

from piecrust.objects.steps import Event

__all__ = ["Event", "revert"]


def revert(events: list[Event], first: int) -> None:
    """Marks the events from index `first` on as reverted."""
    for index in range(first, len(events)):
        event = events[index]
        if not event.reverted:
            events[index] = Event(event.source, event.topic, event.data, reverted=True)
