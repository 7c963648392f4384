"""What ADD does beyond COPY: it unpacks archives, and fetches (Dockerfile reference, "ADD").

find_local      which sources of the context are to be unpacked: part of the step's key
find_remote     what is behind a URL: its digest is part of the key
Adder           does it, in a child that has the root mounted
fetch_trees     the files of git repositories, once it is known that they are needed
remove_trees    when they are not needed any more
"""

from __future__ import annotations

import os
from typing import assert_never

from buildkit.archives import is_archive
from buildkit.copy_to_directory import DirectoryTarget
from buildkit.copying import Copier
from buildkit.errors import BuildError, LocatedError
from buildkit.ignoring import ALL_VISIBLE, Visible
from buildkit.steps import CopyStep, GitTree, Source, WebFile
from buildkit.unpacking import unpack
from buildkit.urls import without_password
from runtime.record import Record
from runtime.sandbox.rootpath import open_in_root
from runtime.store.workspace import remove_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from buildkit.counting import Count
    from buildkit.git_source import Commit
    from buildkit.inputs import Input
    from grammar import Span
    from runtime.store.store import Store
    from runtime.store.workspace import Workspace

_CHECKOUTS = "checkouts"  # a directory in the workspace


class AddedPath(Record):
    """A file or directory of the context, to be copied as COPY does."""

    path: str


class AddedArchive(Record):
    """An archive in the context, to be unpacked."""

    path: str


class AddedDownload(Record):
    """A file that was fetched."""

    place: str  # in the store
    shown: str  # its URL, for errors
    name: str
    mtime: int  # seconds
    unpacks: bool


class AddedTree(Record):
    """Files of a git repository; `place` is empty until they are there."""

    tree: GitTree
    commit: Commit
    span: Span
    place: str = ""
    mtime: int | None = None  # seconds; None for the epoch


Added = AddedPath | AddedArchive | AddedDownload | AddedTree


class Remote(Record):
    """A source from elsewhere, once it is known what it is."""

    added: Added
    parts: object  # of the step's key
    inputs: tuple[Input, ...]


def find_local(context: str, paths: Sequence[str], *, unpacks: bool) -> list[Added]:
    """What ADD makes of paths of the context.

    Only a file that the instruction itself names is unpacked, none in a directory that it names.
    """
    context_fd = os.open(context, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return [
            AddedArchive(path=path)
            if unpacks and _is_archive(context_fd, path)
            else AddedPath(path=path)
            for path in paths
        ]
    finally:
        os.close(context_fd)


def find_remote(
    source: Source, step: CopyStep, epoch: int, store: Store, count: Count | None = None
) -> Remote:
    """Fetch a source, or find that the store has it; raises LocatedError."""
    try:
        match source.remote:
            case WebFile() as file:
                return _find_file(file, step, epoch, store, count)
            case GitTree() as tree:
                return _find_tree(tree, source.span)
            case None:
                raise AssertionError("a source in the context")
    except BuildError as error:
        raise LocatedError(error, source.span) from error


def _find_file(
    file: WebFile, step: CopyStep, epoch: int, store: Store, count: Count | None
) -> Remote:
    from buildkit.download import download

    found = download(file.url, store, file.checksum, count)
    place, mtime = found.place(store), found.mtime(epoch)
    shown = without_password(file.url)
    unpacks = step.unpacks_fetched and is_archive(place)
    if not (unpacks or file.name) and step.destination.endswith("/"):
        raise BuildError(
            f"{shown} does not say what its file is called",
            hint="give the destination a name: no / at its end",
        )
    # What a checksum names can be no other file: nobody is asked again.
    asked: Input = ("download", file.url, epoch, found.digest, mtime)
    return Remote(
        added=AddedDownload(
            place=place, shown=shown, name=file.name, mtime=mtime, unpacks=unpacks
        ),
        parts=["download", found.digest, mtime, file.name],
        inputs=() if file.checksum else (asked,),
    )


def _find_tree(tree: GitTree, span: Span) -> Remote:
    from buildkit.git_source import find_commit, moves, shown

    commit = find_commit(tree)
    asked: Input = ("git", tree.url, tree.ref, commit.id, commit.ref)
    parts: list[object] = [
        "git", commit.id, tree.subdir, tree.submodules, tree.commit_time, tree.keep_git_dir
    ]  # fmt: skip
    if tree.keep_git_dir:
        parts += [shown(tree.url), commit.ref]  # .git says them
    return Remote(
        added=AddedTree(tree=tree, commit=commit, span=span),
        parts=parts,
        inputs=(asked,) if moves(tree) else (),
    )


def fetch_trees(added: tuple[Added, ...], work: Workspace) -> tuple[Added, ...]:
    """Check out what comes from git repositories, until `remove_trees`; raises LocatedError."""
    if not any(isinstance(item, AddedTree) for item in added):
        return added
    from buildkit.git_source import check_out

    folder = work.directory(_CHECKOUTS)
    found: list[Added] = []
    for number, item in enumerate(added):
        if isinstance(item, AddedTree):
            try:
                place, time = check_out(item.tree, item.commit, f"{folder}/{number}")
            except BuildError as error:
                raise LocatedError(error, item.span) from error
            item = item.replace(place=place, mtime=time if item.tree.commit_time else None)
        found.append(item)
    return tuple(found)


def _is_archive(context_fd: int, path: str) -> bool:
    fd = open_in_root(context_fd, path)
    try:
        return is_archive(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


class Adder(Copier[int]):
    """Carries out one ADD step."""

    def __init__(
        self, step: CopyStep, target: DirectoryTarget, *, epoch: int, visible: Visible
    ) -> None:
        super().__init__(step, target, epoch=epoch, visible=visible)
        self._root_fd = target.root_fd

    def add(self, context: str, added: tuple[Added, ...]) -> int:
        """Add everything in the order in which it was written; returns the newest time of the
        archives, in seconds.
        """
        newest = 0
        for item in added:
            match item:
                case AddedPath(path=path):
                    self.copy_paths(context, (path,))
                case AddedArchive(path=path):
                    newest = max(newest, self._unpack_from(context, path))
                case AddedDownload(place=place, shown=shown, unpacks=True):
                    newest = max(newest, self._unpack(place, shown))
                case AddedDownload():
                    self._copy_download(item)
                case AddedTree():
                    newest = max(newest, item.mtime or 0)
                    self._copy_tree(item)
                case _:
                    assert_never(item)
        self.write_inline()
        return newest

    def _copy_download(self, file: AddedDownload) -> None:
        if not file.name and self._into_directory():
            destination = self._step.destination
            raise BuildError(
                f"{file.shown} does not say what its file is called, and {destination} is a "
                "directory"
            )
        before, self._as = self._as, self._as.replace(mtime=file.mtime)
        self._copy_file(file.place, file.name)
        self._as = before

    def _copy_tree(self, item: AddedTree) -> None:
        before = self._as, self._visible
        if item.mtime is not None:
            self._as = self._as.replace(mtime=item.mtime)
        self._visible = ALL_VISIBLE  # an ignore file speaks of the context
        self.copy_paths(item.place, (item.tree.subdir or ".",))
        self._as, self._visible = before

    def _unpack_from(self, context: str, path: str) -> int:
        context_fd = os.open(context, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        fd = open_in_root(context_fd, path)
        os.close(context_fd)
        try:
            newest = self._unpack(f"/proc/self/fd/{fd}", path)
            self.newest_change = max(self.newest_change, os.fstat(fd).st_ctime_ns)
            return newest
        finally:
            os.close(fd)

    def _unpack(self, place: str, where: str) -> int:
        owner = self._made_owner if self._step.chown else None
        return unpack(place, where, self._root_fd, self._step.destination, owner)


def remove_trees(work: Workspace) -> None:
    """Remove what `fetch_trees` checked out."""
    remove_tree(f"{work.path}/{_CHECKOUTS}")
