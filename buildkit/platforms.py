"""Platforms of a build: which `--platform` asks for, and whether their programs run here."""

from __future__ import annotations

import errno
import os
import struct

from buildkit.errors import BuildError, HostError, UsageError
from grammar.values import InvalidValue, parse_platform
from runtime.oci.platform import platform_text

# Machines of <elf.h> and whether they are big endian and 64 bits wide, by Go's names.
_ELF = {
    "386": (3, False, False),
    "amd64": (62, False, True),
    "arm": (40, False, False),
    "arm64": (183, False, True),
    "loong64": (258, False, True),
    "mips64le": (8, False, True),
    "ppc64le": (21, False, True),
    "riscv64": (243, False, True),
    "s390x": (22, True, True),
}
# What the kernel itself runs beside its own; arm64 only where the processor still can, and where
# it can't the program says so.
_ALSO_RUN = {"amd64": ("386",), "arm64": ("arm",)}
_HINT = (
    "install emulators for it, with the flag F (Debian: apt-get install qemu-user-static; "
    "Fedora: dnf install qemu-user-static), or do the work in a stage "
    "FROM --platform=$BUILDPLATFORM"
)
# What rpm and dpkg call architectures that have another name in OCI's words.
_RPM_ARCHITECTURES = {
    "386": "i686",
    "amd64": "x86_64",
    "arm64": "aarch64",
    "armv7": "armv7hl",
    "loong64": "loongarch64",
}
_DEB_ARCHITECTURES = {
    "386": "i386",
    "armv5": "armel",
    "armv6": "armhf",
    "armv7": "armhf",
    "mips64le": "mips64el",
    "mipsle": "mipsel",
    "ppc64le": "ppc64el",
}


def read_platforms(words: tuple[str, ...], here: str) -> tuple[str, ...]:
    """The platforms of a command line, each once; raises UsageError."""
    found: dict[str, None] = {}
    for text in (text.strip() for word in words for text in word.split(",")):
        try:
            found[settled_platform(text, here)] = None
        except InvalidValue as error:
            raise UsageError(f"--platform {text!r}: {error.message}", hint=error.hint) from None
    return tuple(found)


def settled_platform(text: str, here: str) -> str:
    """A platform as it was written, in full; raises InvalidValue. `here` is this machine's."""
    platform = parse_platform(text)
    if platform.os != "linux":
        raise InvalidValue(
            "containers here are Linux containers", 0, len(text), code="bad-platform"
        )
    if not platform.architecture:
        return here
    return platform_text(platform.os, platform.architecture, platform.variant)


def parts_of(platform: str) -> tuple[str, str, str]:
    """System, architecture and variant."""
    system, architecture, variant = (*platform.split("/"), "", "")[:3]
    return system, architecture, variant


def check_programs(platform: str, here: str) -> None:
    """Find out whether programs of a platform can be executed; raises HostError.

    The kernel is asked by an attempt, in an empty root: that is where steps run, and a handler
    which is not open already (flag F of binfmt_misc) finds no emulator there.
    """
    own, wanted = parts_of(here)[1], parts_of(platform)[1]
    if wanted == own or wanted in _ALSO_RUN.get(own, ()):
        return
    said = f"this machine ({here}) cannot run programs for {platform}"
    if wanted not in _ELF:
        raise HostError(said)
    import subprocess
    import tempfile

    with tempfile.TemporaryDirectory(prefix="pybuild-") as empty:
        with open(f"{empty}/probe", "xb") as file:
            file.write(_program(*_ELF[wanted]))
        os.chmod(f"{empty}/probe", 0o755)
        try:
            subprocess.run(
                ["/probe"],
                check=False,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                preexec_fn=lambda: os.chroot(empty),
            )
        except OSError as error:
            if error.errno == errno.ENOEXEC:
                raise HostError(f"{said}: nothing emulates them", hint=_HINT) from None
            if error.errno == errno.ENOENT:
                why = "their emulator is not seen inside images"
                raise HostError(f"{said}: {why}", hint=_HINT) from None
            raise BuildError(f"{empty}/probe: {error.strerror}") from error


def runnable_platforms(here: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Those whose programs run on this machine (`here`), and those whose do not."""
    runs: dict[bool, list[str]] = {True: [here], False: []}
    for architecture in _ELF:
        platform = f"linux/{architecture}"
        if parts_of(here)[1] != architecture:
            try:
                check_programs(platform, here)
                runs[True].append(platform)
            except HostError:
                runs[False].append(platform)
    return tuple(runs[True]), tuple(runs[False])


def _program(machine: int, big: bool, wide: bool) -> bytes:
    """The header of an ELF program without anything in it: an emulator fails, but it starts."""
    order, size = (">" if big else "<"), (64 if wide else 52)
    ident = b"\x7fELF" + bytes((2 if wide else 1, 2 if big else 1, 1)) + bytes(9)
    address = "Q" if wide else "I"
    numbers = (2, machine, 1, 0, 0, 0, 0, size, 0, 0, 0, 0, 0)  # ET_EXEC, …, EV_CURRENT
    return ident + struct.pack(f"{order}HHI{3 * address}IHHHHHH", *numbers)


def rpm_architecture(platform: str) -> str:
    """The architecture of a platform, in rpm's words."""
    _, architecture, variant = parts_of(platform)
    return _RPM_ARCHITECTURES.get(architecture + variant, architecture)


def deb_architecture(platform: str) -> str:
    """The same in dpkg's words."""
    _, architecture, variant = parts_of(platform)
    return _DEB_ARCHITECTURES.get(architecture + variant, architecture)


def docker_architecture(word: str) -> str:
    """An architecture in OCI's words, whichever it was given in."""
    known = (*_DEB_ARCHITECTURES.items(), *_RPM_ARCHITECTURES.items())
    return {theirs: ours for ours, theirs in known}.get(word, word)
