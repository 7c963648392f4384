"""Public keys that packages and metadata may be signed with."""

from __future__ import annotations

from buildkit.bootstrap.fetching import Reader
from buildkit.bootstrap.openpgp import fingerprints
from buildkit.errors import BuildError
from runtime.record import Record

_REMOTE = ("http://", "https://", "ftp://")


class Key(Record):
    """A public key, as its file holds it."""

    name: str
    content: bytes
    fingerprints: tuple[str, ...]

    @property
    def written(self) -> str:
        """What it was asked for by: a URL as it is; what a file is called does not matter."""
        return self.name if self.name.startswith(_REMOTE) else " ".join(self.fingerprints)


def read_key(name: str, reader: Reader) -> Key:
    """`FILE` or URL of a key, perhaps with `#FINGERPRINT`; raises BuildError."""
    name, _, wanted = name.partition("#")
    if reader.locked and name.startswith(_REMOTE):
        return Key(name=name, content=b"", fingerprints=(_pin(wanted),) if wanted else ())
    content = reader.read(name, "key")
    try:
        found = fingerprints(content)
    except BuildError as error:
        raise BuildError(f"key {name!r}: {error.message}") from None
    wanted = _pin(wanted)
    if wanted and wanted not in found:
        raise BuildError(
            f"key {name!r} has the fingerprint {', '.join(found)}, not {wanted}",
            hint="a fingerprint is all 40 hexadecimal digits, or 64" if len(wanted) < 40 else None,
        )
    return Key(name=name, content=content, fingerprints=found)


def _pin(text: str) -> str:
    """A fingerprint as it is compared."""
    return text.replace(" ", "").removeprefix("0x").upper()
