"""Platforms: `os[(version)][/architecture[/variant]]` or an architecture alone.

The names are those of Go, as in image-spec's config.md; other names of an architecture are
replaced as containerd does.
"""

from __future__ import annotations

import re

from grammar.errors import quoted
from grammar.record import Record
from grammar.suggestion import did_you_mean
from grammar.values.invalid import InvalidValue

_OS = re.compile(r"([A-Za-z0-9_.-]+)(?:\(([A-Za-z0-9_.-]*)\))?")
_PART = re.compile(r"[A-Za-z0-9_.-]+")
_SYSTEMS = frozenset(
    "aix android darwin dragonfly freebsd hurd illumos ios js linux nacl netbsd openbsd plan9 "
    "solaris wasip1 windows zos".split()
)
_ARCHITECTURES = frozenset(
    "386 amd64 amd64p32 arm armbe arm64 arm64be loong64 mips mipsle mips64 mips64le mips64p32 "
    "mips64p32le ppc ppc64 ppc64le riscv riscv64 s390 s390x sparc sparc64 wasm".split()
)
_OTHER_NAMES = {
    "i386": ("386", ""),
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "aarch64": ("arm64", ""),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
}


class Platform(Record):
    """What an image runs on; an empty architecture is that of the host."""

    os: str
    architecture: str
    variant: str = ""
    os_version: str = ""

    def __str__(self) -> str:
        return "/".join(filter(None, (self.os, self.architecture, self.variant)))


def parse_platform(text: str) -> Platform:
    """Read a value of --platform; raises InvalidValue."""
    parts = text.split("/")
    offset = 0
    for index, part in enumerate(parts):
        if not (_OS if index == 0 else _PART).fullmatch(part) or index > 2:
            message = f"{quoted(part)} cannot be part of a platform"
            hint = "a platform is written OS/ARCHITECTURE[/VARIANT], such as linux/arm64"
            raise InvalidValue(message, offset, offset + len(part), code="bad-platform", hint=hint)
        offset += len(part) + 1
    if len(parts) == 1:
        return _alone(text)
    match = _OS.fullmatch(parts[0])
    assert match is not None
    architecture, variant = _architecture(parts[1], parts[2] if len(parts) > 2 else "")
    return Platform(
        os=_system(match.group(1)),
        architecture=architecture,
        variant=variant,
        os_version=match.group(2) or "",
    )


def _alone(text: str) -> Platform:
    match = _OS.fullmatch(text)
    assert match is not None
    system = _system(match.group(1))
    if system in _SYSTEMS:
        return Platform(os=system, architecture="", os_version=match.group(2) or "")
    architecture, variant = _architecture(text, "")
    if architecture in _ARCHITECTURES:
        return Platform(os="linux", architecture=architecture, variant=variant)
    hint = did_you_mean(text.lower(), _SYSTEMS | _ARCHITECTURES | _OTHER_NAMES.keys())
    message = f"{quoted(text)} is neither an operating system nor an architecture"
    raise InvalidValue(message, 0, len(text), code="bad-platform", hint=hint)


def _system(text: str) -> str:
    return {"macos": "darwin"}.get(text.lower(), text.lower())


def _architecture(text: str, variant: str) -> tuple[str, str]:
    name, implied = _OTHER_NAMES.get(text.lower(), (text.lower(), ""))
    variant = (variant or implied).lower()
    if name == "arm" and variant in ("5", "6", "7", "8"):
        variant = f"v{variant}"
    if (name, variant) in (("arm64", "v8"), ("arm64", "8"), ("amd64", "v1")):
        variant = ""
    return name, variant or ("v7" if name == "arm" else "")
