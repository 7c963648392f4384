"""Who made or supplies a package, from "NAME <ADDRESS>"; and what is a URL."""

from __future__ import annotations

import re

from runtime.record import Record

_ADDRESSED = re.compile(r"(.*?)\s*<([^<>\s@]+@[^<>\s@]+)>\s*")
_URL = re.compile(r"https?://[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]+")


class Actor(Record):
    """An organization or person; which of them, no package says."""

    name: str
    address: str  # may be empty

    @classmethod
    def read(cls, text: str) -> Actor:
        """Read what a package says; empty if it says nothing."""
        text = " ".join(text.split())
        match = _ADDRESSED.fullmatch(text)
        name, address = match.groups() if match else (text, "")
        return cls(name=name or address, address=address)

    @property
    def spdx(self) -> str:
        """As SPDX 2.3 writes it (7.5), where parentheses are around an address only."""
        name = self.name.replace("(", "[").replace(")", "]")
        if not name:
            return "NOASSERTION"
        return (
            f"Organization: {name} ({self.address})" if self.address else f"Organization: {name}"
        )


def is_url(text: str) -> bool:
    """Whether it is an address of the web."""
    return _URL.fullmatch(text) is not None
