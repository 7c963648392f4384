"""Fingerprints of OpenPGP public keys (RFC 4880 and 9580), without a program for them."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re

from buildkit.errors import BuildError

_ARMOR = re.compile(
    rb"-----BEGIN PGP PUBLIC KEY BLOCK-----\r?\n(.*?)-----END PGP PUBLIC KEY BLOCK-----", re.DOTALL
)
_PUBLIC_KEY = 6  # packet tag; subkeys have another one
_MAX_PACKET = 1 << 24  # bytes


def fingerprints(content: bytes) -> tuple[str, ...]:
    """Of the primary keys in a file, armored or not, as capital hexadecimal digits.

    Raises BuildError for what holds none.
    """
    blocks = [_dearmored(match[1]) for match in _ARMOR.finditer(content)]
    if not blocks:
        if b"-----BEGIN" in content or not content[:1] or content[0] < 0x80:
            raise BuildError("not a public key (-----BEGIN PGP PUBLIC KEY BLOCK-----)")
        blocks = [content]
    found = [name for block in blocks for name in _primary_keys(block)]
    if not found:
        raise BuildError("no public key in it")
    return tuple(dict.fromkeys(found))


def _dearmored(text: bytes) -> bytes:
    # Headers end with an empty line; the checksum line begins with "=".
    _, separator, body = text.replace(b"\r", b"").partition(b"\n\n")
    lines = (body if separator else text).split(b"\n")
    try:
        return base64.b64decode(
            b"".join(line for line in lines if not line.startswith(b"=")), validate=True
        )
    except binascii.Error as error:
        raise BuildError(f"a public key with damaged armor: {error}") from None


def _primary_keys(block: bytes) -> list[str]:
    found = []
    at = 0
    while at < len(block):
        tag, start, end = _packet(block, at)
        if tag == _PUBLIC_KEY:
            found.append(_fingerprint(block[start:end]))
        at = end
    return found


def _packet(block: bytes, at: int) -> tuple[int, int, int]:
    """Tag of the packet at an offset, and where its body starts and ends (RFC 9580 4.2)."""
    try:
        first = block[at]
        if not first & 0x80:
            raise BuildError("a damaged public key: no OpenPGP packet")
        if first & 0x40:
            tag, start = first & 0x3F, at + 2
            length = block[at + 1]
            if 192 <= length < 224:
                length, start = (length - 192 << 8) + block[at + 2] + 192, at + 3
            elif length == 255:
                length, start = int.from_bytes(block[at + 2 : at + 6]), at + 6
        else:
            tag, size = first >> 2 & 0x0F, 1 << (first & 3)
            start = at + 1 + size
            length = int.from_bytes(block[at + 1 : start])
    except IndexError:
        raise BuildError("a damaged public key: it ends too early") from None
    if length > _MAX_PACKET or start + length > len(block):
        raise BuildError("a damaged public key: it ends too early")
    return tag, start, start + length


def _fingerprint(body: bytes) -> str:
    version = body[0] if body else 0
    if version == 4:
        # SHA-1 is what the name of such a key is made of (RFC 9580 5.5.4.2); nothing relies on it
        # being hard to invert: the key itself is compared as well.
        data = b"\x99" + len(body).to_bytes(2) + body
        return hashlib.sha1(data, usedforsecurity=False).hexdigest().upper()
    if version == 6:
        data = b"\x9b" + len(body).to_bytes(4) + body
        return hashlib.sha256(data).hexdigest().upper()
    raise BuildError(f"a public key of version {version}, which is not supported")
