"""The part of a build context that a build sees: an ignore file applied to directories."""

from __future__ import annotations

import os

from runtime.oci.digest import digest_of
from runtime.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from buildkit.inputs import Input
    from grammar.ignore import IgnoreRules


class Visible(Record):
    """What is to be seen of a context; without rules, everything."""

    rules: IgnoreRules | None = None

    def names(self, directory: str, path: str, names: Sequence[str]) -> list[str]:
        """Those of a directory's names that are seen; `path` is its own, below the context.

        A directory that is excluded is seen as far as something in it is not.
        """
        if self.rules is None:
            return list(names)
        prefix = "" if path == "." else f"{path}/"
        return [name for name in names if self.sees(f"{directory}/{name}", prefix + name)]

    def sees(self, place: str, path: str) -> bool:
        """Whether the file at `place`, which is `path` below the context, is seen."""
        if self.rules is None or path == "." or not self.rules.excludes(path):
            return True
        if not self.rules.may_have_included_children(path):
            return False
        if not os.path.isdir(place) or os.path.islink(place):
            return False
        return bool(self.names(place, path, os.listdir(place)))

    def hidden_by(self, path: str) -> str | None:
        """File, line and pattern that hide a path, for an error."""
        rule = self.rules and self.rules.rule_for(path)
        return f"{self.rules.name}:{rule[0]}: {rule[1]}" if self.rules and rule else None


ALL_VISIBLE = Visible()


def read_ignore_file(path: str) -> Visible:
    """What an ignore file leaves to be seen, "" being none; raises ContainerfileErrors."""
    if not path:
        return ALL_VISIBLE
    from grammar.ignore import parse_ignore

    with open(path, "rb") as file:
        return Visible(rules=parse_ignore(file.read(), name=path))


def find_ignore_file(containerfile: str, context: str) -> tuple[str, tuple[Input, ...]]:
    """The ignore file of a build ("" if there is none), and what would make it another one."""
    from grammar.ignore import candidates

    return _first(candidates(containerfile, context))


def directory_ignore_file(directory: str) -> tuple[str, tuple[Input, ...]]:
    """The same of a directory without a Containerfile."""
    from grammar.ignore import NAMES

    return _first(f"{directory}/{name}" for name in NAMES)


def _first(paths: Iterable[str]) -> tuple[str, tuple[Input, ...]]:
    """The first file that is there."""
    inputs: list[Input] = []
    for path in paths:
        if os.path.isfile(path):
            with open(path, "rb") as file:
                return path, (*inputs, ("file", path, str(digest_of(file.read()))))
        inputs.append(("absent", path))
    return "", tuple(inputs)
