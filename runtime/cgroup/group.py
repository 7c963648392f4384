"""The control group of a container: made, joined, limited, and removed at the end.

What is done to a running group (freezing, killing) is in `control`, figures are in `stats`,
events in `oom`, rules for devices in `devices`.
"""

from __future__ import annotations

import os
from errno import EBUSY

from runtime.cgroup.files import FileError, read_file, write_file
from runtime.cgroup.layout import Layout, find_layout
from runtime.cgroup.making import join_others, limit, remove_places, wanted, with_place
from runtime.cgroup.places import Place, relative_path, remove_made
from runtime.cgroup.settings import asked
from runtime.errors import ContainerError
from runtime.oci.resources import Resources
from runtime.record import Record
from runtime.sandbox.userns import in_user_namespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Literal

# As runc and crun do: neither list nor program can be changed from there.
_NO_RULES = "device rules are not enforced: in a user namespace no device can be made anyway"


class Group(Record):
    """A container's directories in the hierarchies; without any, nothing was asked for."""

    path: str = ""  # as `cgroupsPath`, or the name that was taken instead
    places: tuple[Place, ...] = ()
    notes: tuple[str, ...] = ()  # what was done otherwise than asked

    def place_of(self, controller: str) -> Place | None:
        """The place where a controller (named as in v1) acts on this group."""
        for place in self.places:
            if controller in place.controllers:
                return place
        return self.unified if controller in ("freezer", "devices") else None

    @property
    def unified(self) -> Place | None:
        """The place in the hierarchy of cgroup v2."""
        for place in self.places:
            if place.version == 2:
                return place
        return None

    def attach(self, pid: int, *, beside: int | None = None) -> None:
        """Move a process into the group, with all its threads.

        The kernel waits for an RCU grace period then, about 5 ms unless somebody else just did;
        `enter` does without. In v2 the container may have moved its processes into groups below
        this one, and nobody can join it any more: then the process goes where `beside` is.
        Raises ContainerError.
        """
        for place in self.places:
            try:
                write_file(place.directory + "/cgroup.procs", str(pid))
            except FileError as error:
                if error.errno != EBUSY or place.version == 1 or beside is None:
                    raise
                unified = find_layout(beside).unified
                if unified is None or unified.own is None:
                    raise
                write_file(unified.own + "/cgroup.procs", str(pid))

    def entries(self, *, unified: bool = True) -> tuple[int, ...]:
        """Open the files by which a child puts itself into the group, for `files.enter`.

        Without `unified` not that of v2: it is for who is born there (`open_unified`).
        """
        found: list[int] = []
        for place in self.places:
            if place.version == 2 and not unified:
                continue
            # One thread that moves itself need not be waited for; only v1 lets a thread.
            file = "tasks" if place.version == 1 else "cgroup.procs"
            path = f"{place.directory}/{file}"
            try:
                found.append(os.open(path, os.O_WRONLY | os.O_CLOEXEC))
            except OSError as error:
                for fd in found:
                    os.close(fd)
                raise FileError(path, error) from error
        return tuple(found)

    def is_divided(self) -> bool:
        """Whether the container made groups of its own in v2: processes live only below then."""
        if self.unified is None:
            return False
        return bool(read_file(self.unified.directory + "/cgroup.subtree_control"))

    def open_unified(self) -> int | None:
        """Open the directory in the hierarchy of v2, for clone(2) into it; None without one."""
        if self.unified is None:
            return None
        path = self.unified.directory
        try:
            return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise FileError(path, error) from error

    def apply(self, resources: Resources) -> Group:
        """Change limits of a running container; what is not said stays.

        Returns the group to use from now on: a controller that it had no use for before makes it
        a place there, and its processes move. Raises ContainerError; limits that were written
        before the one it names stay.
        """
        if not self.places:
            if not asked(resources) and not resources.unified:
                return self
            raise ContainerError(
                "the container has no control group, so its limits can't be changed",
                hint="start it with a limit, such as --pids-limit",
            )
        if resources.devices and in_user_namespace():
            resources = resources.replace(devices=())
        layout = find_layout()
        group = self
        old = {place.directory for place in self.places}
        try:
            for hierarchy, needed in wanted(resources, (), layout):
                group = with_place(group, hierarchy, needed)
            limit(group, resources)
        except ContainerError:
            remove_places(tuple(p for p in group.places if p.directory not in old))
            raise
        new = tuple(p for p in group.places if p.directory not in old)
        if new:
            from runtime.cgroup.control import move_into

            move_into(self, new)
        return group

    def delegate(self, uid: int) -> None:
        """Give a v2 group to a user (config-linux.md "Cgroup ownership"); v1 is not safe so."""
        place = self.unified
        if place is None:
            return
        try:
            names = read_file("/sys/kernel/cgroup/delegate").split()
        except FileError:  # before Linux 4.15; the specification's own list
            names = ["cgroup.procs", "cgroup.subtree_control", "cgroup.threads"]
        for name in ("", *names):
            path = f"{place.directory}/{name}"
            try:
                os.chown(path, uid, -1)
            except FileNotFoundError:
                continue  # a file of a controller that this group does not have
            except OSError as error:
                raise FileError(path, error, str(uid)) from error

    def processes(self) -> tuple[int, ...]:
        """All processes in the group and in groups below it, as pids of the caller's namespace."""
        from runtime.cgroup.control import processes

        return processes(self)

    def freeze(self, *, timeout_s: float = 10) -> None:
        """Stop all processes and wait until they stand still; raises ContainerError otherwise."""
        from runtime.cgroup.control import freeze

        freeze(self, timeout_s=timeout_s)

    def thaw(self) -> None:
        """Let frozen processes go on."""
        from runtime.cgroup.control import thaw

        thaw(self)

    def is_frozen(self) -> bool:
        """Whether the group is frozen by itself."""
        from runtime.cgroup.control import is_frozen

        return is_frozen(self)

    def kill(self, *, timeout_s: float = 10) -> None:
        """SIGKILL every process, until none is left. Raises ContainerError if some stay."""
        from runtime.cgroup.control import kill

        kill(self, timeout_s=timeout_s)

    def remove(self, *, timeout_s: float = 5) -> None:
        """Remove what was made for it, and groups below; processes that die are waited for.

        What is gone already is fine. Raises ContainerError if processes stay.
        """
        for place in self.places:
            if not place.made:
                continue  # it was there before us (runtime.md "Delete")
            try:
                os.rmdir(place.directory)
            except FileNotFoundError:
                pass
            except OSError:
                from runtime.cgroup.control import remove_tree

                remove_tree(place.directory, timeout_s=timeout_s)
            remove_made(place.made[:-1])

    def stats(self) -> dict[str, Any]:
        """Figures as `events --stats` of runc gives them, member `data`."""
        from runtime.cgroup.stats import stats

        return stats(self)

    def oom_count(self) -> int:
        """How many processes were killed because memory.limit was reached."""
        from runtime.cgroup.oom import oom_count

        return oom_count(self)

    def to_json(self) -> dict[str, Any]:
        """The group as a JSON value, for a process that comes later."""
        places = [
            {
                "version": place.version,
                "controllers": list(place.controllers),
                "directory": place.directory,
                "made": list(place.made),
            }
            for place in self.places
        ]
        return {"path": self.path, "places": places, "notes": list(self.notes)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Group:
        """Undo `to_json`; raises ContainerError if the value is not from there."""
        try:
            places = tuple(
                Place(
                    version=int(place["version"]),
                    controllers=tuple(map(str, place["controllers"])),
                    directory=str(place["directory"]),
                    made=tuple(map(str, place["made"])),
                )
                for place in value["places"]
            )
            return cls(path=value["path"], places=places, notes=tuple(value["notes"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ContainerError(f"the state of a control group is damaged: {error!r}") from error


def make_group(
    path: str,
    resources: Resources | None,
    *,
    name: str = "",
    kinds: Literal["asked", "all"] = "asked",
    controllers: tuple[str, ...] = (),
    layout: Layout | None = None,
) -> Group:
    """Make a container's group in the hierarchies that it needs, and set its limits.

    `path` is the specification's `cgroupsPath` (see `places`), `name` is taken if it is empty.
    `kinds="asked"` makes what limits and `controllers` ask for (`freezer` and `devices` are
    `controllers` as well), and nothing if nothing is asked; "all" also joins all other
    hierarchies in which that is permitted.
    Raises ContainerError naming the field of the limit that can't be had; nothing stays then.
    """
    resources = resources or Resources()
    if kinds == "asked" and not (controllers or resources.unified or asked(resources)):
        return Group()
    relative, absolute = relative_path(path, name)
    layout = layout or find_layout()
    group = Group(path="/" * absolute + relative)
    if resources.devices and in_user_namespace():
        resources = resources.replace(devices=())
        group = group.replace(notes=(_NO_RULES,))
    try:
        for hierarchy, needed in wanted(resources, controllers, layout):
            group = with_place(group, hierarchy, needed)
        if kinds == "all":
            group = join_others(group, layout)
        limit(group, resources)
    except ContainerError:
        remove_places(group.places)
        raise
    return group
