"""Planning what ADD takes from elsewhere: URLs and git repositories (Dockerfile reference, "ADD").

`file:` and other schemes are refused: what a build reads of this machine is in its context.
"""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING

from buildkit.steps import GitTree, Source, WebFile
from grammar import Add, Word
from grammar.values import Checksum, GitReference, parse_checksum, parse_git_reference

if TYPE_CHECKING:
    from buildkit.stage_plan import StagePlanner

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://|(file):")
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")  # SHA-1 or SHA-256
_COMMIT_START = re.compile(r"[0-9a-f]{4,64}")


def plan_remote(stage: StagePlanner, add: Add, word: Word, text: str) -> WebFile | GitTree | None:
    """What the source `word`, expanded to `text`, is fetched from; None if it is in the context.

    Raises ContainerfileError.
    """
    checksum = None
    if add.checksum is not None and stage.expand(add.checksum):
        checksum = stage.value(add.checksum, parse_checksum)
    reference = stage.value(word, parse_git_reference)
    if reference is not None:
        return _git_tree(stage, add, word, reference, checksum)
    scheme = _SCHEME.match(text)
    if scheme is None:
        if checksum is not None and add.checksum is not None:
            what = "--checksum is for a URL or a git repository"
            raise stage.error(what, add.checksum.span, "the context's files are known by content")
        return None
    if (scheme[1] or scheme[2]) not in ("http", "https"):
        what = f"ADD takes no {scheme[1] or scheme[2]} URL"
        hint = "a file of this machine belongs into the context"
        raise stage.error(what, word.span, hint if scheme[0].startswith("file") else None)
    if checksum is not None and add.checksum is not None and checksum.algorithm == "git":
        what = "--checksum of a URL is written sha256:HEX"
        raise stage.error(what, add.checksum.span, "a commit is for a git repository")
    return _web_file(stage, word, text, checksum)


def _web_file(stage: StagePlanner, word: Word, url: str, checksum: Checksum | None) -> WebFile:
    from urllib.parse import unquote, urlsplit  # few files need it, and it costs 3 ms

    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:  # a port that is no number, half an IPv6 address
        host = None
    if not host:
        raise stage.error(f"{url!r} is no URL", word.span)
    path = unquote(parts.path, errors="surrogateescape")
    name = posixpath.basename(path.rstrip("/"))
    if name in (".", "..") or "\0" in name:
        name = ""
    return WebFile(url=url, name=name, checksum=checksum)


def _git_tree(
    stage: StagePlanner,
    add: Add,
    word: Word,
    reference: GitReference,
    checksum: Checksum | None,
) -> GitTree:
    options = reference.options
    if checksum is not None and add.checksum is not None and checksum.algorithm != "git":
        what = "--checksum of a git repository is the name of a commit, or its beginning"
        raise stage.error(what, add.checksum.span)
    if reference.url.startswith("-") or reference.ref.startswith("-"):
        raise stage.error("a name that begins with a dash is no git reference", word.span)
    wanted = [options[key] for key in ("checksum", "commit") if key in options]
    wanted += [] if checksum is None else [checksum.hex]
    for commit in wanted:
        if not _COMMIT_START.fullmatch(commit):
            raise stage.error(f"{commit!r} is no name of a commit", word.span)
    commit = max(wanted, key=len, default="")
    if not all(commit.startswith(other) for other in wanted):
        raise stage.error("two commits are asked for", word.span)
    by_commit = _is_on(options.get("fetch-by-commit"), otherwise=False)
    if by_commit and not _COMMIT.fullmatch(commit):
        raise stage.error("fetch-by-commit needs the whole name of a commit", word.span)
    mtime = options.get("mtime", "checkout")
    if mtime not in ("checkout", "commit"):
        raise stage.error(f"mtime is checkout or commit, not {mtime!r}", word.span)
    keeps = _is_on(options.get("keep-git-dir"), otherwise=False)
    if add.keep_git_dir is not None:
        keeps = add.keep_git_dir
    subdir = posixpath.normpath(f"/{reference.subdir}").strip("/")
    if keeps and subdir:
        raise stage.error("a subdirectory has no .git to keep", word.span)
    return GitTree(
        url=reference.url,
        ref=reference.namespace + reference.ref,
        subdir=subdir,
        commit=commit,
        by_commit=by_commit,
        keep_git_dir=keeps,
        submodules=_is_on(options.get("submodules"), otherwise=True),
        commit_time=mtime == "commit",
    )


def _is_on(value: str | None, *, otherwise: bool) -> bool:
    return otherwise if value is None else value in ("", "true", "1")


def check_names(
    stage: StagePlanner, add: Add, sources: tuple[Source, ...], destination: str
) -> None:
    """Refuse a URL without a file's name that is to go into a directory."""
    for source, word in zip(sources, add.sources, strict=True):
        nameless = isinstance(source.remote, WebFile) and not source.remote.name
        # What is unpacked needs no name; whether it can be is seen once it is there.
        if nameless and destination.endswith("/") and not add.unpack:
            what = f"{source.path} does not say what its file is called"
            raise stage.error(what, word.span, "give the destination a name: no / at its end")
