"""Which capabilities this process has (capabilities(7)); giving them up is in `capabilities`."""

from __future__ import annotations

_NUMBERS = {"SYS_CHROOT": 18, "SYS_ADMIN": 21, "MKNOD": 27}  # include/uapi/linux/capability.h


def held_mask() -> int:
    """The caller's effective set; everything where no /proc can tell, so that the kernel decides.

    Thread-local in the kernel: asked of the thread that calls.
    """
    try:
        with open("/proc/thread-self/status", "rb") as status:
            for line in status:
                if line.startswith(b"CapEff:"):
                    return int(line[7:], 16)
    except OSError:
        pass
    return (1 << 64) - 1


def holds(name: str) -> bool:
    """Whether the caller has one of the capabilities that the program asks about."""
    return bool(held_mask() >> _NUMBERS[name] & 1)
