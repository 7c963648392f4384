"""Platforms as text, such as `linux/amd64` or `linux/arm/v7` (image-index.md "platform").

Architectures have the names of Go. A variant that says no more than the architecture does is left
out, and one that is understood stands there, as containerd has it.
"""

from __future__ import annotations

import os

from runtime.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_GO_NAMES = {
    "x86_64": ("amd64", ""),
    "aarch64": ("arm64", ""),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "i686": ("386", ""),
}
_PLAIN = {("arm64", "v8"), ("amd64", "v1")}
_ARM = ("v7", "v6", "v5")  # each runs what is made for those after it


def this_platform() -> str:
    """What this machine is."""
    machine = os.uname().machine
    architecture, variant = _GO_NAMES.get(machine, (machine, ""))
    return platform_text("linux", architecture, variant)


def asked_platform(text: str) -> str:
    """What a user writes: `linux/ARCH[/VARIANT]` or an architecture alone; raises UsageError."""
    words = text.lower().removeprefix("linux/").split("/")
    if len(words) > 2 or not all(words):
        raise UsageError(f"--platform {text!r}: linux/ARCHITECTURE[/VARIANT] expected")
    architecture, variant = _GO_NAMES.get(words[0], (words[0], ""))
    return platform_text("linux", architecture, words[1] if len(words) == 2 else variant)


def platform_text(system: str, architecture: str, variant: str = "") -> str:
    """A platform as text; an image that says nothing of its architecture has an empty one."""
    if (architecture, variant) in _PLAIN:
        variant = ""
    if architecture == "arm" and not variant:
        variant = "v7"
    return "/".join(filter(None, (system, architecture, variant))) if architecture else ""


def read_platform(table: Mapping[str, Any]) -> str:
    """The platform of a descriptor, or of an image's configuration; empty if it has none."""
    parts = [table.get(name) or "" for name in ("os", "architecture", "variant")]
    if not all(isinstance(part, str) for part in parts):
        return ""
    return platform_text(*parts)


def served_by(platform: str) -> tuple[str, ...]:
    """The platforms whose images a platform runs, the best one first."""
    base, _, variant = platform.rpartition("/")
    if base == "linux/arm" and variant in _ARM:
        return tuple(f"{base}/{v}" for v in _ARM[_ARM.index(variant) :])
    return (platform,)
