"""What a build was made from, in a form that can be looked at again without planning the build.

An input is a tuple whose first member says its kind:

    ("context", directory, (pattern, ...), ignore file, (--exclude, ...), --parents,
     ((name, digest), ...))                              what COPY took from there
    ("absent", path)                                     an ignore file that is not there
    ("file", path, digest)                               a file of this machine
    ("url", url, digest)                                 a document of a server
    ("download", url, epoch, digest, mtime)              a file that ADD fetched
    ("package", path, sha256)                            a package of the context
    ("private", url)                                     a document that takes credentials
    ("git", url, ref, commit, full name of ref)          a branch or tag of a repository
    ("program", name, path)                              a program on PATH
    ("image", name, platform, (digest, ...))             a base image: its config and layers
"""

from __future__ import annotations

import os

from buildkit.contents import StatCache, digest
from buildkit.excluding import kept_path, read_exclusions
from buildkit.ignoring import read_ignore_file
from buildkit.selection import select, select_below
from runtime.oci.digest import digest_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runtime.image.archive import Image
    from runtime.store.store import Store

Input = tuple["Any", ...]


class HiddenError(Exception):
    """A source that an ignore file hides; the argument says which rule does."""


def context_input(
    context: str,
    patterns: tuple[str, ...],
    ignore_file: str,
    known: StatCache | None,
    *,
    exclude: tuple[str, ...] = (),
    parents: bool = False,
) -> tuple[Input, tuple[str, ...]]:
    """What some COPY sources are now, and their paths (`select_all`).

    Raises OSError for a source that is not there, HiddenError for one that is not to be seen.
    """
    visible, excluded = read_ignore_file(ignore_file), read_exclusions(exclude)
    root_fd = os.open(context, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        paths: list[str] = []
        for pattern in patterns:
            found = select_below(root_fd, pattern) if parents else select(root_fd, pattern)
            real = [(path, os.path.normpath(path)) for path in found]
            seen = [path for path, name in real if visible.sees(f"{context}/{name}", name)]
            if not seen and len(found) == 1:
                raise HiddenError(visible.hidden_by(real[0][1]))
            paths.extend(p for p in seen if not excluded.leaves_out(root_fd, p))
        named = tuple(
            (
                kept_path(path) if parents else os.path.basename(path),
                digest(root_fd, path, known, visible, excluded),
            )
            for path in paths
        )
    finally:
        os.close(root_fd)
    return ("context", context, patterns, ignore_file, exclude, parents, named), tuple(paths)


def are_unchanged(inputs: tuple[Input, ...], store: Store, known: StatCache) -> bool:
    """Whether every input is what it was; one that cannot be looked at is not."""
    try:
        return all(_now(item, store, known) == item for item in inputs)
    except Exception:  # whatever it is: the build itself will meet it, and say so at its place
        return False


def is_same_context(item: Input, known: StatCache | None) -> bool:
    """Whether what COPY took from a context is still the same there."""
    try:
        return _context_now(item, known) == item
    except (OSError, HiddenError):
        return False


def _context_now(item: Input, known: StatCache | None) -> Input:
    _, context, patterns, ignore_file, exclude, parents, _ = item
    return context_input(context, patterns, ignore_file, known, exclude=exclude, parents=parents)[
        0
    ]


def _now(item: Input, store: Store, known: StatCache) -> Input:
    """The same input as it is at present."""
    kind, name = item[:2]
    if kind == "context":
        return _context_now(item, known)
    if kind == "absent":
        return () if os.path.lexists(name) else item
    if kind == "file":
        with open(name, "rb") as file:
            return kind, name, str(digest_of(file.read()))
    if kind == "url":
        from buildkit.bootstrap.fetching import fetch

        return kind, name, str(digest_of(fetch(name)))
    if kind == "package":
        from buildkit.bootstrap.fetching import file_sha256

        return kind, name, file_sha256(name)
    if kind == "private":
        return ()
    if kind == "download":
        from buildkit.download import download_input

        return download_input(name, item[2], store)
    if kind == "git":
        from buildkit.git_source import git_input

        return git_input(name, item[2])
    if kind == "program":
        return kind, name, find_program(name)
    from runtime.image.source import open_image

    return image_input(open_image(store, name, item[2]), name, item[2])


def image_input(image: Image, name: str, platform: str) -> Input:
    """A base image, found under `name` (a path, or a name in the store).

    `platform` is that which was asked for; it may be empty.
    """
    layers = tuple(str(layer.digest) for layer in image.manifest.layers)
    return "image", name, platform, (str(image.manifest.config.digest), *layers)


def find_program(name: str) -> str | None:
    """The real path of a program on PATH."""
    for directory in os.environ.get("PATH", os.defpath).split(":"):
        path = os.path.join(directory, name)
        if directory and os.access(path, os.X_OK) and os.path.isfile(path):
            return os.path.realpath(path)
    return None
