"""Profiles in few words."""

from __future__ import annotations

from runtime.oci.seccomp import Seccomp, SyscallArgument, SyscallRule
from runtime.seccomp.compile import compile_filter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def rule_of(
    names: str, action: str, *args: tuple[int, str, int] | tuple[int, str, int, int], **more: int
) -> SyscallRule:
    """A rule in few words: each condition is an index, an operator, one or two values."""
    conditions = tuple(
        SyscallArgument(index=a[0], op=f"SCMP_CMP_{a[1]}", value=a[2], value_two=(*a, 0)[3])
        for a in args
    )
    return SyscallRule(
        names=tuple(names.split()), action=f"SCMP_ACT_{action}", args=conditions, **more
    )


def profile_of(default: str, *rules: SyscallRule, **more: Any) -> Seccomp:
    """A profile in few words."""
    return Seccomp(default_action=f"SCMP_ACT_{default}", syscalls=rules, **more)


def filter_of(default: str, *rules: SyscallRule, **more: Any) -> bytes:
    """Its filter on x86-64."""
    return compile_filter(profile_of(default, *rules, **more), machine="x86_64")
