"""`--exclude`: what a COPY leaves out of each of its sources; and the paths `--parents` keeps.

A path that is kept below the destination is written as `DIRECTORY/./PATH`, PATH being what is
kept, as in the language itself. Patterns are relative to that directory then, else to the source
if it is a directory, and to the directory it lies in if it is not.
"""

from __future__ import annotations

import os

from buildkit.ignoring import ALL_VISIBLE, Visible
from runtime.record import Record
from runtime.sandbox.rootpath import open_in_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Excluded(Record):
    """What is left out of a source."""

    rules: Visible = ALL_VISIBLE

    def names(self, place: str, source: str, below: str, names: Sequence[str]) -> list[str]:
        """Those of a directory's names that are copied; it is `below` a source, or "."."""
        if self.rules.rules is None:
            return list(names)
        return self.rules.names(place, os.path.normpath(f"{kept_path(source)}/{below}"), names)

    def leaves_out(self, root_fd: int, source: str) -> bool:
        """Whether a source, which is a path inside a root, is not copied at all."""
        if self.rules.rules is None:
            return False
        path = kept_path(source)
        # What --parents names is not followed if it is a link, and what is above it never is one.
        fd = open_in_root(root_fd, source if path == "." else os.path.dirname(source))
        try:
            place = f"/proc/self/fd/{fd}/."
            if path != ".":
                place += "/" + os.path.basename(path)
            elif not os.path.isdir(place):
                path = os.path.basename(source)
            return not self.rules.sees(place, path)
        finally:
            os.close(fd)


NOTHING_EXCLUDED = Excluded()


def read_exclusions(patterns: tuple[str, ...]) -> Excluded:
    """What `--exclude` patterns leave out; they were read once, while planning."""
    if not patterns:
        return NOTHING_EXCLUDED
    from grammar.ignore import exclusions

    return Excluded(rules=Visible(rules=exclusions(patterns)))


def kept_path(source: str) -> str:
    """The path that `--parents` keeps; "." without it."""
    return source.partition("/./")[2] or "."


def kept_parents(source: str) -> Iterator[str]:
    """The directories that `--parents` keeps above a source, the outermost first, each as
    `DIRECTORY/./PATH`.
    """
    top, _, path = source.partition("/./")
    parts = path.split("/")[:-1]
    for end in range(1, len(parts) + 1):
        yield f"{top}/./{'/'.join(parts[:end])}"
