"""Which files a COPY source names; `contents` says what is in them.

Paths are resolved inside a root (the context, or another stage's filesystem) that they cannot
leave: `/x` and `../x` mean `x`, symlinks resolve inside.
"""

from __future__ import annotations

import os

from runtime.sandbox.rootpath import open_in_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_SPECIAL = frozenset("*?[\\")
_CLASS = r"(\^?)((?:\\.|.)(?:\\.|[^\]\\])*)\]"  # what follows a "["


def select(root_fd: int, pattern: str) -> tuple[str, ...]:
    """Paths below the root that a source names, sorted; a pattern may name none.

    Components match as Go's filepath.Match does. Raises FileNotFoundError for a literal path
    that is not there.
    """
    parts = [part for part in os.path.normpath("/" + pattern).split("/") if part]
    if not _SPECIAL.intersection(pattern):
        path = "/".join(parts) or "."
        os.close(open_in_root(root_fd, path))
        return (path,)
    found = [""]
    for part in parts:
        found = [path for above in found for path in _matches(root_fd, above, part)]
    return tuple(sorted(found, key=os.fsencode))


def _matches(root_fd: int, above: str, part: str) -> Iterator[str]:
    try:
        fd = open_in_root(root_fd, above or ".", os.O_RDONLY | os.O_DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):
        return
    try:
        names = os.listdir(fd)
    finally:
        os.close(fd)
    import re  # most sources hold no pattern

    expression = re.compile(translate(part), re.DOTALL)
    for name in names:
        if expression.fullmatch(name):
            yield f"{above}/{name}" if above else name


def translate(part: str) -> str:
    """A regular expression for one component of a pattern (Go's filepath.Match)."""
    import re

    bracket = re.compile(_CLASS, re.DOTALL)
    out, at = [], 0
    while at < len(part):
        char = part[at]
        at += 1
        if char == "*":
            out.append("[^/]*")
        elif char == "?":
            out.append("[^/]")
        elif char == "[" and (found := bracket.match(part, at)):
            out.append(f"[{'^' * bool(found[1])}{_class(found[2])}]")
            at = found.end()
        elif char == "\\" and at < len(part):
            out.append(re.escape(part[at]))
            at += 1
        else:
            out.append(re.escape(char))
    return "".join(out)


def _class(body: str) -> str:
    """What stands in brackets: a dash makes a range unless it is escaped."""
    import re

    return "".join(
        char if char == "-" else re.escape(char.removeprefix("\\"))
        for char in re.findall(r"\\.|.", body, re.DOTALL)
    )
