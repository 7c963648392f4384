"""What was mounted in a container since it started: `mounts.json` in its directory.

It is about the process that runs: with that the mounts are gone, and the file.
"""

from __future__ import annotations

import os

from runtime.oci.json_text import to_text
from runtime.oci.reader import parse_json_value
from runtime.oci.spec import Mount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NAME = "mounts.json"


def read_added(path: str) -> tuple[Mount, ...]:
    """The mounts of a container's directory, in the order in which they were made."""
    where = f"{path}/{NAME}"
    try:
        with open(where, "rb") as file:
            documents: Any = parse_json_value(file.read(), where)
    except FileNotFoundError:
        return ()
    return tuple(
        Mount(
            destination=document["destination"],
            source=document["source"],
            options=tuple(document["options"]),
        )
        for document in documents
    )


def write_added(path: str, mounts: tuple[Mount, ...]) -> None:
    """Record the mounts of a container's directory, whole or not at all."""
    documents = [
        {
            "source": mount.source,
            "destination": mount.destination,
            "options": list(mount.options),
        }
        for mount in mounts
    ]
    aside = f"{path}/.{NAME}"
    with open(aside, "wb") as file:
        file.write(to_text(documents).encode("utf-8", "surrogateescape"))
    os.rename(aside, f"{path}/{NAME}")
