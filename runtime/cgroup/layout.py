"""Which hierarchies of control groups there are, and where a process stands in them (cgroups(7)).

A machine may have cgroup v1, v2 or both, and tools mount controllers elsewhere while it runs. So
the layout is found per controller whenever it is needed, and never remembered.
"""

from __future__ import annotations

from runtime.cgroup.files import read_file
from runtime.record import Record


class Hierarchy(Record):
    """One tree of groups; `mount` is the topmost of them that can be seen here."""

    version: int  # 1 or 2
    controllers: tuple[str, ...]  # v1: also a "name=…"; v2: what the topmost group can give
    mount: str
    own: str | None  # directory of the process's group; None: it is not below `mount`
    writable: bool = True


class Layout(Record):
    """All hierarchies that are mounted here."""

    hierarchies: tuple[Hierarchy, ...]

    @property
    def unified(self) -> Hierarchy | None:
        """The hierarchy of cgroup v2."""
        for hierarchy in self.hierarchies:
            if hierarchy.version == 2:
                return hierarchy
        return None

    def hierarchy_of(self, controller: str) -> Hierarchy | None:
        """Where a controller is, by its name in v1 (`blkio`, not `io`).

        v2 has no controllers for `freezer` and `devices`: every group of it can be frozen, and
        can have a program that decides about devices.
        """
        for hierarchy in self.hierarchies:
            if hierarchy.version == 1 and controller in hierarchy.controllers:
                return hierarchy
        unified = self.unified
        if unified is None or controller in ("freezer", "devices"):
            return unified
        return unified if V2_NAMES.get(controller, controller) in unified.controllers else None

    def describe(self) -> str:
        """What there is, for the error that something else is not."""
        first = sorted(name for h in self.hierarchies if h.version == 1 for name in h.controllers)
        parts = ["cgroup v1 has: " + ", ".join(first)] if first else []
        if self.unified is not None:
            parts.append("cgroup v2 has: " + (", ".join(self.unified.controllers) or "none"))
        return "; ".join(parts) or "no cgroup filesystem is mounted"


V2_NAMES = {"blkio": "io"}


def find_layout(pid: int | str = "self") -> Layout:
    """Find the hierarchies that the caller sees, and in them the groups of process `pid`.

    Raises ContainerError if /proc can't be read.
    """
    mountinfo = read_file("/proc/self/mountinfo")
    membership = read_file(f"/proc/{pid}/cgroup")
    layout = parse_layout(mountinfo, membership)
    unified = layout.unified
    if unified is None:
        return layout
    controllers = tuple(read_file(unified.mount + "/cgroup.controllers").split())
    others = tuple(h for h in layout.hierarchies if h.version == 1)
    return Layout(hierarchies=(*others, unified.replace(controllers=controllers)))


def parse_layout(mountinfo: str, membership: str) -> Layout:
    """Combine the texts of /proc/PID/mountinfo and /proc/PID/cgroup (proc(5)).

    The controllers of cgroup v2 are in neither: they are left empty.
    """
    mounts = [_Mount(line) for line in mountinfo.splitlines() if " - cgroup" in line]
    found = []
    for line in membership.splitlines():
        _, names, own = line.split(":", 2)
        # The names in a mount's options stand among flags; those in /proc/PID/cgroup do not.
        controllers = tuple(names.split(",")) if names else ()
        fstype = "cgroup" if names else "cgroup2"
        fitting = [m for m in mounts if m.fstype == fstype and m.has(controllers)]
        if fitting:
            best = max(fitting, key=lambda m: (m.directory_of(own) is not None, m.writable))
            found.append(
                Hierarchy(
                    version=1 if names else 2,
                    controllers=controllers,
                    mount=best.point,
                    own=best.directory_of(own),
                    writable=best.writable,
                )
            )
    return Layout(hierarchies=tuple(found))


class _Mount:
    """One line of mountinfo: `36 35 0:31 /root /point rw,… shared:1 - cgroup cgroup rw,cpu`."""

    def __init__(self, line: str) -> None:
        left, _, right = line.partition(" - ")
        fields = left.split(" ")
        self.root, self.point = _unescape(fields[3]), _unescape(fields[4])
        self.fstype, _, options = right.split(" ", 2)
        self.options = options.split(",")
        self.writable = "rw" in fields[5].split(",") and "rw" in self.options

    def has(self, controllers: tuple[str, ...]) -> bool:
        return all(name in self.options for name in controllers)

    def directory_of(self, group: str) -> str | None:
        """Where a group of /proc/PID/cgroup is found below this mount, if it is.

        Both paths are relative to the reader's cgroup namespace. `/..` stands for what is above
        it, without names: nothing can be said about such a place.
        """
        if ".." in group.split("/") or group.endswith(" (deleted)"):
            return None
        if self.root == "/":
            return self.point + group.rstrip("/")
        if group == self.root or group.startswith(self.root + "/"):
            return self.point + group[len(self.root) :]
        return None


def _unescape(path: str) -> str:
    """Undo the octal escapes of mountinfo, which stand for blanks and backslashes."""
    if "\\" not in path:
        return path
    first, *rest = path.split("\\")
    return first + "".join(chr(int(part[:3], 8)) + part[3:] for part in rest)
