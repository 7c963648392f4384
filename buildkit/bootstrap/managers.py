"""Which programs do it: dnf 4, dnf 5, rpm; of this machine or of an image with tools."""

from __future__ import annotations

import os

from buildkit.errors import HostError
from buildkit.inputs import find_program
from runtime.record import Record

_DIRECTORIES = ("usr/bin", "bin", "usr/sbin", "usr/local/bin")
_MAX_LINKS = 8
_NEEDED = (
    "install one (Debian: apt-get install dnf; Fedora, RHEL: dnf install dnf), lock the packages "
    "(pybuild lock) elsewhere, or give --tools=IMAGE"
)


class Manager(Record):
    """A dnf that can say what is to be installed."""

    kind: str  # "dnf" (4) or "dnf5"
    program: str  # as it is executed
    interpreter: str  # of dnf 4: the Python that has its modules


def find_manager(asked: str, tools: tuple[str, ...]) -> Manager:
    """The manager of this machine, or of the layers of an image (highest first).

    `asked` is `auto`, `dnf` or `dnf5`. Raises HostError with what to do.
    """
    names = {"dnf": ("dnf-3", "dnf"), "dnf5": ("dnf5",)}.get(asked, ("dnf-3", "dnf", "dnf5"))
    for name in names:
        path = find_in(name, tools)
        if path is None:
            continue
        if os.path.basename(path) == "dnf5":
            return Manager(kind="dnf5", program="dnf5", interpreter="")
        if interpreter := _interpreter(path):
            return Manager(kind="dnf", program=name, interpreter=interpreter)
    where = "the image of --tools" if tools else "this machine"
    what = "dnf or dnf5" if asked == "auto" else asked
    raise HostError(f"BOOTSTRAP needs {what}, and {where} has none", hint=_NEEDED)


def check_rpm(tools: tuple[str, ...]) -> None:
    """Raise HostError if there is no rpm."""
    if find_in("rpm", tools) is None:
        where = "the image of --tools" if tools else "this machine"
        raise HostError(
            f"BOOTSTRAP needs rpm, and {where} has none",
            hint="install it (Debian: apt-get install rpm), or give --tools=IMAGE",
        )


def find_in(name: str, tools: tuple[str, ...]) -> str | None:
    """Where a program really is, for us to look at."""
    if not tools:
        return find_program(name)
    for directory in _DIRECTORIES:
        path = f"/{directory}/{name}"
        for _ in range(_MAX_LINKS):
            found = next((t + path for t in tools if os.path.lexists(t + path)), None)
            if found is None or not os.path.islink(found):
                break
            path = os.path.normpath(os.path.join(os.path.dirname(path), os.readlink(found)))
        if found is not None and os.path.isfile(found):
            return found
    return None


def _interpreter(path: str) -> str:
    """What a script's first line names."""
    with open(path, "rb") as file:
        first = file.readline(256)
    if not first.startswith(b"#!"):
        return ""
    return os.fsdecode(first[2:].split()[0])
