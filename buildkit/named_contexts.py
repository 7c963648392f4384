"""`--build-context NAME=VALUE`: what else than the build context a name in the file stands for."""

from __future__ import annotations

import os
from collections.abc import Mapping

from buildkit.errors import UsageError
from buildkit.ignoring import directory_ignore_file
from runtime.image.source import LAYOUT
from runtime.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from buildkit.inputs import Input

_IMAGE_SCHEMES = ("docker-image://", "container-image://")
_HINT = (
    "VALUE is a directory, an archive, docker-image://NAME (a name in the store)"
    " or oci-layout://DIRECTORY[:TAG|@DIGEST]"
)


class NamedContext(Record):
    """A directory, or else an image as FROM would name it."""

    directory: str = ""  # real path
    ignore_file: str = ""  # of the directory; empty for none
    ignoring: tuple[Input, ...] = ()  # what would make it another one
    image: str = ""


def read_named_contexts(words: tuple[str, ...]) -> dict[str, NamedContext]:
    """The contexts of a command line by their names, in lower case; raises UsageError."""
    found: dict[str, NamedContext] = {}
    for word in words:
        name, _, value = word.partition("=")
        if not name or not value:
            raise UsageError(f"--build-context {word!r}: NAME=VALUE expected", hint=_HINT)
        found[name.lower()] = _read(word, value)
    return found


def images_of(contexts: Mapping[str, NamedContext]) -> dict[str, str]:
    """For the planner: the image that each name stands for, "" for a directory."""
    return {name: context.image for name, context in contexts.items()}


def _read(word: str, value: str) -> NamedContext:
    for scheme in _IMAGE_SCHEMES:
        if value.startswith(scheme):
            return NamedContext(image=value.removeprefix(scheme))
    if value.startswith(LAYOUT):
        return NamedContext(image=LAYOUT + os.path.abspath(value.removeprefix(LAYOUT)))
    if "://" in value:
        raise UsageError(f"--build-context {word!r}: {value} cannot be read", hint=_HINT)
    path = os.path.realpath(value)
    if os.path.isdir(path):
        ignore_file, ignoring = directory_ignore_file(path)
        return NamedContext(directory=path, ignore_file=ignore_file, ignoring=ignoring)
    if os.path.isfile(path):
        return NamedContext(image=path)
    raise UsageError(f"--build-context {word!r}: {value} does not exist", hint=_HINT)
