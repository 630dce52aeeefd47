"""What a VM does with remotes: other places that have commits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from piecrust.objects.progress import Progress, silent
from piecrust.objects.refs import DEFAULT_REMOTE
from piecrust.vm.vm_view import VMView

if TYPE_CHECKING:
    from piecrust.objects.remote.fetch import FetchReport
    from piecrust.objects.remote.push import PushReport
    from piecrust.objects.remote.remotes import Remotes
    from piecrust.vm.remotes import Pulled


class VMRemotes(VMView):
    """The parts of a VM that speak to remotes; what they need is imported when they do."""

    @property
    def remotes(self) -> Remotes:
        """The remotes that the store knows: `add`, `remove`, and to iterate over."""
        from piecrust.objects.remote.remotes import Remotes

        return Remotes(self.store)

    def fetch(
        self, remote: str = DEFAULT_REMOTE, *, depth: int | None = None, progress: Progress = silent
    ) -> FetchReport:
        """Brings what a remote has; see `remotes.fetch`."""
        from piecrust.vm.remotes import fetch

        return fetch(self.store, remote, depth=depth, progress=progress)

    def pull(
        self,
        remote: str = DEFAULT_REMOTE,
        branch: str | None = None,
        *,
        message: str | None = None,
        progress: Progress = silent,
    ) -> Pulled:
        """Fetches, and joins a branch of the remote into HEAD's; see `remotes.pull`."""
        from piecrust.vm.remotes import pull

        return pull(self.store, remote, branch, message=message, progress=progress)

    def push(
        self,
        remote: str = DEFAULT_REMOTE,
        refs: Sequence[str] = (),
        *,
        delete: bool = False,
        force: bool = False,
        progress: Progress = silent,
    ) -> PushReport:
        """Sends branches and tags to a remote, by default HEAD's branch; see `remotes.push`."""
        from piecrust.vm.remotes import push

        return push(self.store, remote, refs, delete=delete, force=force, progress=progress)
