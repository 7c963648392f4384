"""Sources of ADD that are not files: URLs and git repositories.

git@host:path.git#ref:subdir        https://host/path.git?tag=v1&subdir=docs
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping

from grammar.errors import quoted
from grammar.record import Record
from grammar.suggestion import did_you_mean
from grammar.values.invalid import InvalidValue

_SCP = re.compile(r"[A-Za-z0-9_.-]+@[A-Za-z0-9_.\[\]:-]+?:(?!//)")
_HTTP = re.compile(r"https?://[^?#]*\.git/?(?=[?#]|\Z)")
_QUERY_KEYS = (
    "ref", "tag", "branch", "subdir", "checksum", "commit", "keep-git-dir", "submodules",
    "mtime", "fetch-by-commit",
)  # fmt: skip
_NAMESPACES = {"ref": "", "tag": "refs/tags/", "branch": "refs/heads/"}
_SWITCHES = ("keep-git-dir", "submodules", "fetch-by-commit")


class GitReference(Record):
    """A repository, what to check out of it, and which directory to take."""

    url: str
    ref: str = ""  # empty: the repository's default branch
    namespace: str = ""  # "refs/tags/" or "refs/heads/", if the query says which it is
    subdir: str = ""
    options: Mapping[str, str]  # the rest of the query


def is_remote(text: str) -> bool:
    """Whether a source is fetched from a network: a URL or a repository."""
    return text.startswith(("http://", "https://")) or is_git(text)


def is_git(text: str) -> bool:
    """Whether a source is a git repository."""
    if ":" not in text or text.startswith(("git://", "ssh://")):
        return ":" in text
    return bool(_HTTP.match(text) or _SCP.match(text))


def parse_git_reference(text: str) -> GitReference | None:
    """Read a source; None when it is no repository. Raises InvalidValue."""
    if not is_git(text):
        return None
    before, hash_, fragment = text.partition("#")
    url, question, query = before.partition("?")
    options = _options(query, len(url) + 1) if question else {}
    ref, colon, subdir = fragment.partition(":")
    start = len(before) + 1
    for key, written in (("ref", ref), ("subdir", subdir if colon else "")):
        if hash_ and written and key in options:
            message = f"{key} is given twice, after ? and after #"
            raise _invalid(message, start, len(text))
    given = [key for key in _NAMESPACES if key in options]
    refs = [options.pop(key) for key in given]
    if len(refs) > 1 or (refs and ref):
        message = "only one of ref, tag, branch and #REF can be given"
        raise _invalid(message, len(url), len(text))
    subdir = subdir or options.pop("subdir", "")
    if posixpath.normpath(subdir.lstrip("/") or ".").startswith(".."):
        raise _invalid(f"{quoted(subdir)} leaves the repository", len(url), len(text))
    return GitReference(
        url=url,
        ref=ref or "".join(refs),
        namespace="".join(_NAMESPACES[key] for key in given),
        subdir=subdir,
        options=options,
    )


def _options(query: str, offset: int) -> dict[str, str]:
    from urllib.parse import unquote  # not at the top: few files need it, and it costs 3 ms

    options: dict[str, str] = {}
    for part in query.split("&"):
        key, equals, value = part.partition("=")
        end = offset + len(part)
        if key not in _QUERY_KEYS:
            hint = did_you_mean(key, _QUERY_KEYS) or f"known are {', '.join(_QUERY_KEYS)}"
            raise _invalid(f"unknown option {quoted(key)}", offset, offset + len(key), hint)
        if key in options:
            raise _invalid(f"option {quoted(key)} is repeated", offset, end)
        if key in _SWITCHES and value not in ("", "true", "false", "1", "0"):
            raise _invalid(f"{key} is true or false, not {quoted(value)}", offset, end)
        if key not in _SWITCHES and not (equals and value):
            raise _invalid(f"option {quoted(key)} has no value", offset, end)
        options[key] = unquote(value)
        offset = end + 1
    return options


def _invalid(message: str, start: int, end: int, hint: str | None = None) -> InvalidValue:
    return InvalidValue(message, start, end, code="bad-git-reference", hint=hint)
