"""Which files a COPY source names; `contents` says what is in them.

Paths are resolved inside a root (the context, or another stage's filesystem) that they cannot
leave: `/x` and `../x` mean `x`, symlinks resolve inside.
"""

from __future__ import annotations

import errno
import os

from runtime.sandbox.rootpath import open_in_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re
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


def select_below(root_fd: int, pattern: str) -> tuple[str, ...]:
    """What a source of `COPY --parents` names, as `DIRECTORY/./PATH`: PATH is to be kept.

    The directory ends at the first `/./` that was written, else it is the root. PATH matches as a
    line of an ignore file does, `**` included, and no symlink is followed in it. Sorted; what
    lies in a directory that is named as well is not. Raises FileNotFoundError as `select` does.
    """
    from grammar.ignore_patterns import above, cleaned, read_pattern, to_regex

    pivot, found, written = pattern.partition("/./")
    if not found:
        pivot, written = "", pattern
    top = os.path.normpath("/" + pivot).lstrip("/") or "."
    wanted = cleaned("/" + written)
    if wanted in ("", "/"):
        os.close(open_in_root(root_fd, top))
        return (f"{top}/./.",)
    import re

    parts = read_pattern(wanted)
    matches = re.compile(to_regex(parts), re.DOTALL)
    leads = re.compile(above(parts) or "(?!)", re.DOTALL)
    top_fd = open_in_root(root_fd, top, os.O_PATH | os.O_DIRECTORY)
    try:
        paths = [f"{top}/./{path}" for path in _below(top_fd, ".", matches, leads)]
    finally:
        os.close(top_fd)
    if not paths and not _SPECIAL.intersection(pattern):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), pattern)
    return tuple(paths)


def _below(
    root_fd: int, folder: str, matches: re.Pattern[str], leads: re.Pattern[str]
) -> Iterator[str]:
    """Paths that match, in a fixed order; directories that cannot hold one are not read."""
    fd = open_in_root(root_fd, folder, os.O_RDONLY | os.O_DIRECTORY, follow=False)
    try:
        with os.scandir(fd) as entries:
            found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    finally:
        os.close(fd)
    for name, is_directory in sorted(found, key=lambda entry: os.fsencode(entry[0])):
        path = name if folder == "." else f"{folder}/{name}"
        if matches.match(path):
            yield path
        elif is_directory and leads.match(path):
            yield from _below(root_fd, path, matches, leads)


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
