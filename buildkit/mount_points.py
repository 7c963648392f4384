"""Mount points that an image lacks, made so that none of them gets into a layer.

They are in a directory of their own that lies over the image's layers, below the one that a step
writes to. The directories above them look there as they do in the image.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from buildkit.errors import BuildError
from buildkit.merged import Merged, Place
from buildkit.stacking import copy_attributes


def make_mount_points(
    lowers: tuple[str, ...], wanted: Iterable[tuple[str, bool]], directory: str
) -> bool:
    """Make what is missing in the new `directory`; whether anything is.

    `wanted` are paths in the image, each with whether a directory is to be mounted there. Raises
    BuildError for one where something else is.
    """
    merged = Merged(lowers)
    above: dict[str, Place] = {}  # directories of the image that had to be made anew
    made = False
    before = os.umask(0o022)  # a step that writes below a mount point gets it into its layer
    try:
        os.mkdir(directory)
        for path, is_directory in wanted:
            place = merged.find(path)
            if place.layers:
                _check_kind(path, place, is_directory=is_directory)
                continue
            made = True
            _make(merged, place.path, directory, above)
            if is_directory:
                os.makedirs(f"{directory}{place.path}", exist_ok=True)
            elif not os.path.lexists(f"{directory}{place.path}"):
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
                os.close(os.open(f"{directory}{place.path}", flags, 0o644))
    finally:
        os.umask(before)
    # Deepest first, and last: what is put into a directory changes its time.
    for path in sorted(above, key=len, reverse=True):
        source = above[path].layers[0]
        copy_attributes(source, os.stat(source), f"{directory}{path}")
    return made


def _make(merged: Merged, path: str, directory: str, above: dict[str, Place]) -> None:
    """Make the directories above a path, and note which ones the image has."""
    parent = ""
    for name in path.split("/")[1:-1]:
        parent += f"/{name}"
        if parent not in above and (place := merged.find(parent)).layers:
            above[parent] = place
        os.makedirs(f"{directory}{parent}", exist_ok=True)


def _check_kind(path: str, place: Place, *, is_directory: bool) -> None:
    if place.is_directory != is_directory:
        there = "a directory" if place.is_directory else "no directory"
        wanted = "a directory" if is_directory else "a file"
        raise BuildError(f"{path}: {wanted} cannot be mounted there, it is {there} in the image")
