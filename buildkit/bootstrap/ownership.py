"""Owners of what is installed, in a user namespace that has one id; else the files have them.

In three parts: `Ownership` is an attendant while packages are installed (`buildkit.chowns`),
`note_packaged` looks into the database afterwards, where the new root can be seen, and `settle`
says what is not known.
"""

from __future__ import annotations

import os

from buildkit.chowns import Chowns
from buildkit.errors import BuildError
from buildkit.owners import Owner, Owners
from buildkit.packaged_owners import changing_scriptlets, note_packaged
from runtime.sandbox.capabilities import holds
from runtime.sandbox.entry import Entry
from runtime.seccomp.installing import NO_SYNC, installing_filter
from runtime.seccomp.load import MACHINES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


class Ownership:
    """A context manager for one installation.

    The programs have the new root at `root`; what it gets is in `upper` on this machine, and
    nothing was there before if it is `fresh`.

    With `owners` None, files are given to whom they belong, and there is nothing to do.
    """

    def __init__(self, owners: Owners | None, *, root: str, upper: str, fresh: bool) -> None:
        self._owners = owners
        self._upper = upper
        self.attendant = (
            None if owners is None else Chowns(owners, root=root, upper=upper, fresh=fresh)
        )

    @property
    def entry(self) -> Entry | None:
        """What the container of the installation needs for it; all do without waiting for disks.

        The layer is what is kept, and nobody reads the new root after a power cut.
        """
        if self.attendant is not None:
            return self.attendant.entry
        # seccomp(2) wants the right, or a process that can gain none; scriptlets may.
        if os.uname().machine not in MACHINES or not holds("SYS_ADMIN"):
            return None
        return Entry(seccomp=installing_filter(NO_SYNC))

    def note_packaged(self, root: str, dbpath: str) -> Mapping[str, Owner]:
        """What the database adds, for `settle`; `root` is where the new root can be seen now."""
        if self._owners is None or self.attendant is None:
            return {}
        if self.attendant.unheard:
            changing = changing_scriptlets(root, dbpath)
            if changing:
                why = os.strerror(self.attendant.unheard)
                raise BuildError(
                    f"scriptlets of {', '.join(changing)} change owners of files, which cannot be "
                    f"followed here: seccomp(2) with a listener: {why}",
                    hint="subordinate ids need no listener: see subuid(5) and newuidmap(1)",
                )
        return note_packaged(root, self._upper, dbpath, self._owners)

    def settle(self, packaged: Mapping[str, Owner]) -> None:
        """Take over what the database added; raises BuildError for a file of an unknown owner."""
        if self._owners is None or self.attendant is None:
            return
        if self.attendant.unknown:
            raise BuildError(
                f"the owner of a file is not known: {'; '.join(self.attendant.unknown)}",
                hint="subordinate ids would do without: see subuid(5) and newuidmap(1)",
            )
        self._owners.inherits = not self.attendant.unheard
        for path, owner in packaged.items():
            self._owners.note_inode(os.lstat(path), owner)

    def __enter__(self) -> Ownership:
        return self

    def __exit__(self, *_: object) -> None:
        if self.attendant is not None:
            self.attendant.close()
