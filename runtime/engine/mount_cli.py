"""`pyrun mount` and `umount`: files of the host in a container that runs already."""

from __future__ import annotations

import os

from runtime.engine.added_mounts import read_added, write_added
from runtime.engine.cli import say
from runtime.engine.containers import state_directory
from runtime.engine.image_mounts import image_mount
from runtime.engine.joining import open_store_beside, running
from runtime.engine.mount_words import ImageUse, bind, destination_of, source_of
from runtime.errors import ContainerError, UsageError
from runtime.lifecycle.hot_mounts import add_mounts, remove_mounts
from runtime.lifecycle.kept import spec_of
from runtime.oci.spec import Mount
from runtime.options import OptionTable

HELP = """\
usage: pyrun mount [OPTIONS] SOURCE CONTAINER:DEST
       pyrun umount CONTAINER:DEST

Mount a file or directory of the host, a volume or an image of the store in a container that runs,
or undo that. What is mounted read-only stays so, whatever capabilities the container has. It ends
with the container's process.

  -o OPTION,...              ro, nosuid, nodev, noexec..., idmap=uids=FILE-HERE-N#gids=FILE-HERE-N
      --type bind|volume|image
                             what SOURCE is (default: bind); an image is always read-only
      --root DIR             the store
"""

TABLES = {
    "mount": OptionTable(
        "pyrun mount",
        values={"--root": "root", "--type": "type", "-t": "type"},
        lists={"-o": "options", "--options": "options"},
        flags={"--help": "help"},
    ),
    "umount": OptionTable(
        "pyrun umount", values={"--root": "root"}, lists={}, flags={"--help": "help"}
    ),
}


def main(verb: str, arguments: list[str]) -> int:
    """Run one of the verbs; returns the exit status. Raises PyrunError."""
    fields, operands = TABLES[verb].parse(arguments, operands_end_options=False)
    if fields.get("help"):
        say(HELP)
        return 0
    if len(operands) != (2 if verb == "mount" else 1):
        usage = "SOURCE CONTAINER:DEST" if verb == "mount" else "CONTAINER:DEST"
        raise UsageError(f"pyrun {verb}: {usage} expected", hint=f"pyrun {verb} --help")
    name, colon, place = operands[-1].partition(":")
    if not colon or not name:
        raise UsageError(f"pyrun {verb}: {operands[-1]!r}: CONTAINER:DEST expected")
    destination = destination_of(place, f"pyrun {verb}")
    if verb == "umount":
        return _remove(fields.get("root"), name, destination)
    kind = fields.get("type", "bind")
    if kind not in ("bind", "volume", "image"):
        raise UsageError(f"--type {kind}: bind, volume or image")
    words = tuple(word for text in fields.get("options", ()) for word in text.split(","))
    return _add(fields.get("root"), name, destination, (kind, operands[0], words))


def _add(
    root: str | None, name: str, destination: str, what: tuple[str, str, tuple[str, ...]]
) -> int:
    kind, source, words = what
    where = f"pyrun mount {source!r}"
    if kind == "bind":
        source = source_of(source, where)
    store, path = open_store_beside(root, name)
    record = running(store, path).record
    if kind == "image":
        if words not in ((), ("ro",)):
            raise UsageError("--type image: it is read-only, and has no other options")
        mount = image_mount(store, ImageUse(image=source, destination=destination))
    elif kind == "volume":
        from runtime.engine.volumes import data_of, find_volume

        source = data_of(find_volume(store, source))
        mount = bind(source, destination, words, where)
    else:
        mount = bind(source, destination, words, where)
    directory = state_directory(record.id)
    with directory:
        added = read_added(path)
        of_spec = {os.path.normpath(mount.destination) for mount in spec_of(directory).mounts}
        if destination in of_spec or any(mount.destination == destination for mount in added):
            raise ContainerError(
                f"container {record.name}: something is mounted at {destination} already"
            )
        add_mounts(directory, (mount,), locked=True)
        write_added(path, (*added, mount))
    return 0


def _remove(root: str | None, name: str, destination: str) -> int:
    store, path = open_store_beside(root, name)
    record = running(store, path).record
    directory = state_directory(record.id)
    with directory:
        added = read_added(path)
        if not any(mount.destination == destination for mount in added):
            raise ContainerError(
                f"container {record.name}: nothing was mounted at {destination}",
                hint="only what `pyrun mount` has mounted can be undone",
            )
        write_added(path, tuple(mount for mount in added if mount.destination != destination))
        remove_mounts(directory, (Mount(destination=destination),))
    return 0
