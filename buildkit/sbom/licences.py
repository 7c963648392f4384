"""Licences as SPDX expressions (SPDX 2.3, annex D).

Packages say them in the words of their time: SPDX's own, Fedora's older ones ("GPLv2+ and MIT"),
Debian's short names ("GPL-2+ or Artistic"). What is no identifier of SPDX becomes a LicenseRef
that keeps the name: what "Public Domain" means, nobody can say but the package.
"""

from __future__ import annotations

import hashlib
import re

from buildkit.sbom.spdx_ids import EXCEPTIONS, LICENSES
from runtime.record import Record

NOASSERTION = "NOASSERTION"

_LONGEST = 4096  # characters of an expression that is looked into
_TOKEN = re.compile(r"(\(|\)|(?:(?<=[\s)])|^)(?:and|or)(?=[\s(]|$))", re.IGNORECASE)
_TERM = re.compile(r"(\S+?)(\+?)(?:\s+WITH\s+(\S+))?", re.IGNORECASE)
_GNU = re.compile(r"(A?GPL|LGPL|GFDL)-(\d)(?:\.(\d))?(\+?)")
_DEBIAN = {"expat": "MIT", "apache-2": "Apache-2.0", "artistic": "Artistic-1.0"}


class Expression(Record):
    """A licence expression of SPDX."""

    text: str
    is_listed: bool  # all of it is on SPDX's list


class References:
    """The LicenseRefs of one document: each stands for one name."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}  # LicenseRef -> what packages call it

    def expression(self, licences: tuple[str, ...], *, debian: bool) -> Expression:
        """What all of these together are; NOASSERTION for nothing."""
        found = [self._one(text, debian=debian) for text in licences]
        if not found:
            return Expression(text=NOASSERTION, is_listed=False)
        texts = dict.fromkeys(expression.text for expression in found)
        parts = [f"({t})" if len(texts) > 1 and " OR " in t else t for t in texts]
        return Expression(text=" AND ".join(parts), is_listed=all(e.is_listed for e in found))

    def _one(self, text: str, *, debian: bool) -> Expression:
        text = " ".join(text.split())
        tokens = [token.strip() for token in _TOKEN.split(text) if token.strip()]
        if len(text) > _LONGEST or not _is_sound(tokens):
            return Expression(text=self._reference(text), is_listed=False)
        words, is_listed = [], True
        for token in tokens:
            word = token.upper()
            if word not in ("(", ")", "AND", "OR"):
                listed = _listed(token, debian=debian)
                word, is_listed = listed or self._reference(token), is_listed and bool(listed)
            words.append(word)
        joined = " ".join(words).replace("( ", "(").replace(" )", ")")
        return Expression(text=joined, is_listed=is_listed)

    def _reference(self, name: str) -> str:
        bare = name.removeprefix("LicenseRef-").replace("+", "-plus")
        clean = re.sub(r"[^A-Za-z0-9.]+", "-", bare).strip("-")[:80]
        reference = f"LicenseRef-{clean or 'unnamed'}"
        if self.names.get(reference, name) != name:
            reference += f"-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
        self.names[reference] = name
        return reference


def _is_sound(tokens: list[str]) -> bool:
    """Whether names and operators alternate, and each parenthesis has its other."""
    depth, wants_name = 0, True
    for token in tokens:
        if token == "(":
            depth += 1
        elif token == ")":
            depth -= 1
        is_name = token.lower() not in ("(", ")", "and", "or")
        if depth < 0 or wants_name != (is_name or token == "("):
            return False
        wants_name = token.lower() in ("(", "and", "or")
    return not depth and not wants_name


def _listed(term: str, *, debian: bool) -> str:
    """A licence of SPDX's list, perhaps with an exception; empty if it is none."""
    match = _TERM.fullmatch(term)
    if match is None:
        return ""
    name, plus, exception = match.groups()
    found = _of_debian(f"{name}{plus}") if debian else ""
    found = found or LICENSES.get(f"{name}{plus}".lower(), "")
    if not found and name.lower() in LICENSES:
        found = LICENSES[name.lower()] + plus
    if not found or exception is None:
        return found
    known = EXCEPTIONS.get(exception.lower())
    return f"{found} WITH {known}" if known else ""


def _of_debian(name: str) -> str:
    """SPDX's name for a short name of DEP-5 that has one meaning."""
    if gnu := _GNU.fullmatch(name):
        family, major, minor, plus = gnu.groups()
        kind = "or-later" if plus else "only"
        return LICENSES.get(f"{family}-{major}.{minor or 0}-{kind}".lower(), "")
    return _DEBIAN.get(name.lower(), "")
