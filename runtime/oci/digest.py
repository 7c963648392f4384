"""Digests and chain identities (image-spec descriptor.md "Digests", config.md "Layer ChainID")."""

from __future__ import annotations

from runtime.errors import ImageError

TYPE_CHECKING = False

# hashlib loads OpenSSL (3 ms), which pays for itself only on layers. Documents of a few kilobytes
# take the interpreter's own implementation; its module was renamed in Python 3.12.
if TYPE_CHECKING:
    from hashlib import sha256 as _sha256
else:
    try:
        from _sha2 import sha256 as _sha256
    except ImportError:
        try:
            from _sha256 import sha256 as _sha256
        except ImportError:  # a build without either
            from hashlib import sha256 as _sha256

small_sha256 = _sha256

_HEX = frozenset("0123456789abcdef")


class Digest(str):
    """`sha256:<64 hex digits>`, checked when parsed; as text it is JSON, key and name at once."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: object, where: str = "") -> Digest:
        """Return `text` as a digest; raises ImageError for anything but a sha256 digest."""
        prefix = f"{where}: " if where else ""
        if not isinstance(text, str) or not text.startswith("sha256:"):
            raise ImageError(f"{prefix}not a sha256 digest: {text!r}")
        if len(text) != 71 or not _HEX.issuperset(text[7:]):
            raise ImageError(f"{prefix}not a sha256 digest: {text!r} (want 64 hexadecimal digits)")
        return cls(text)

    @property
    def hex(self) -> str:
        """The digest without its algorithm: the name of its blob."""
        return self[7:]


class DiffID(Digest):
    """Digest of a layer's uncompressed tar."""

    __slots__ = ()


class ChainID(Digest):
    """Identity of a stack of applied layers."""

    __slots__ = ()


def digest_of(document: bytes) -> Digest:
    """Digest of a document held in memory."""
    return Digest("sha256:" + small_sha256(document).hexdigest())


def chain_ids(diff_ids: tuple[DiffID, ...]) -> tuple[ChainID, ...]:
    """Identity of the stack after each of the layers, lowest first."""
    chain: list[ChainID] = []
    for diff_id in diff_ids:
        if chain:
            chain.append(ChainID(digest_of(f"{chain[-1]} {diff_id}".encode())))
        else:
            chain.append(ChainID(diff_id))
    return tuple(chain)
