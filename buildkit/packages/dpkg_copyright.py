"""Licences in a Debian copyright file, where it is machine-readable (DEP-5).

(https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/)
"""

from __future__ import annotations

from buildkit.packages.dpkg_status import stanzas
from buildkit.packages.errors import PackageError

_FORMATS = ("copyright-format", "/dep5", "/dep-5", "dep5.mdwn")


def read_licences(content: bytes) -> tuple[str, ...]:
    """The short names and combinations of them that any files have, sorted.

    Nothing if the file is not machine-readable, or says that it is and is not: nobody checks
    these files, and prose is what most of them are.
    """
    text = content.decode("utf-8", "replace").removeprefix("\ufeff").lstrip()
    head = text[: text.find("\n")].lower()
    if not head.startswith(("format:", "format-specification:")):
        return ()
    if not any(known in head for known in _FORMATS):
        return ()
    found = set()
    try:
        for number, (_, fields) in enumerate(stanzas(text, "copyright")):
            # A stanza of a licence alone holds its text, which some files may refer to.
            if number == 0 or "files" in fields:
                found.add(" ".join(fields.get("license", "").partition("\n")[0].split()))
    except PackageError:
        return ()
    return tuple(sorted(found - {""}))
