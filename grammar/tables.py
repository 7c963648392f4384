"""The lark parser of containerfile.lark, its tables kept between runs.

Making the tables costs about 20 ms, reading them 2 ms. lark's own `cache=` is not
used: its file is a pickle, which it opens without looking who wrote it. Here a file counts
only if it is a regular file of ours that nobody else may write, and no failure to read or to
keep it reaches the caller.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import stat
import sys
import tempfile
from functools import cache
from importlib.resources import files

import lark
from lark import Lark

# How the grammar file writes the escape character.
_ESCAPE_IN_GRAMMAR = r"[\\]"


@cache
def parser_for(escape: str) -> Lark:
    """The LALR parser of one instruction, for one escape character."""
    text = (files("grammar") / "containerfile.lark").read_text(encoding="utf-8")
    if escape != "\\":
        text = text.replace(_ESCAPE_IN_GRAMMAR, f"[{escape}]")
    path = _cache_path(text)
    try:
        return Lark.load(io.BytesIO(_read_own(path)))
    except Exception:  # absent, not ours, cut short, from another lark: unpickling raises anything
        parser = Lark(text, parser="lalr", propagate_positions=True)
    tables = io.BytesIO()
    parser.save(tables)
    with contextlib.suppress(OSError):
        _write(path, tables.getvalue())
    return parser


def _cache_path(text: str) -> str:
    versions = f"{lark.__version__} {sys.version}"
    key = hashlib.sha256(f"{versions}\n{text}".encode()).hexdigest()[:32]
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):  # the XDG base directory specification: ignore a relative one
        base = os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "pybuild", "grammar", f"{key}.lark")


def _read_own(path: str) -> bytes:
    # O_NONBLOCK: someone may have put a FIFO there, and opening it must not wait.
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    with open(fd, "rb") as file:
        # On the open file: what a path names can change between a check and its use.
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise PermissionError(f"{path}: others may write it")
        if status.st_uid != os.geteuid():
            raise PermissionError(f"{path}: belongs to uid {status.st_uid}")
        return file.read()


def _write(path: str, content: bytes) -> None:
    directory = os.path.dirname(path)
    os.makedirs(directory, mode=0o700, exist_ok=True)
    fd, temporary = tempfile.mkstemp(dir=directory)
    try:
        with open(fd, "wb") as file:
            file.write(content)
        os.replace(temporary, path)
    except OSError:
        os.unlink(temporary)
        raise
