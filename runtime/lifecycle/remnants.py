"""What is left of a container whose `create` was killed, or whose state is damaged."""

from __future__ import annotations

import os

from runtime.cgroup.group import Group
from runtime.cgroup.layout import find_layout
from runtime.cgroup.places import place_of, relative_path
from runtime.errors import PyrunError
from runtime.lifecycle.kept import spec_of
from runtime.oci.reader import parse_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runtime.lifecycle.state import ContainerDirectory


def remove_unrecorded(directory: ContainerDirectory) -> None:
    """Remove what a `create` that was killed has left, or what only a damaged state tells of."""
    try:
        with open(f"{directory.path}/group.json", "rb") as file:
            group = Group.from_json(parse_json(file.read(), file.name))
    except FileNotFoundError:
        _remove_empty_groups(directory)
    else:
        group.kill()
        group.remove()
    directory.remove()


def _remove_empty_groups(directory: ContainerDirectory) -> None:
    """Remove groups that were made, but not recorded any more; no process is in them then."""
    if not directory.exists("config.json"):
        return  # it did not come to groups
    try:
        path, absolute = relative_path(spec_of(directory).cgroups_path, directory.id)
    except PyrunError:
        return  # a configuration that no group can have been made for
    for hierarchy in find_layout().hierarchies:
        try:
            os.rmdir(place_of(hierarchy, path, absolute=absolute))
        except OSError:
            continue  # it is not there, or somebody uses it
