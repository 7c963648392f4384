"""Which distribution a root filesystem is of: os-release(5)."""

from __future__ import annotations

from runtime.record import Record

PLACES = ("etc/os-release", "usr/lib/os-release")


class OsRelease(Record):
    """What is needed of it; empty where it does not say."""

    id: str = ""
    version_id: str = ""
    name: str = ""
    pretty_name: str = ""

    @property
    def distro(self) -> str:
        """The release, as package URLs name it."""
        return f"{self.id}-{self.version_id}" if self.version_id and self.id else self.id


def read_os_release(content: bytes) -> OsRelease:
    """Read the file; a line that a shell would not take as an assignment is passed over."""
    values = {}
    for line in content.decode("utf-8", "replace").splitlines():
        name, equals, value = line.strip().partition("=")
        if equals and not name.startswith("#"):
            values[name] = _unquoted(value.strip())
    return OsRelease(
        id=values.get("ID", "").lower(),
        version_id=values.get("VERSION_ID", ""),
        name=values.get("NAME", ""),
        pretty_name=values.get("PRETTY_NAME", ""),
    )


def _unquoted(value: str) -> str:
    quote = value[:1]
    if quote not in ("'", '"'):
        return value
    if quote == "'":
        return value[1:].partition(quote)[0]
    return _double_quoted(value[1:])


def _double_quoted(text: str) -> str:
    found, rest = "", iter(text)
    for character in rest:
        if character == '"':
            break
        if character == "\\":
            character = next(rest, "")
        found += character
    return found
