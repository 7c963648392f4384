"""Numbers of system calls: libseccomp's table, and what is newer than it.

libseccomp is loaded by name when the first name is looked up; nothing but its table is used.
"""

from __future__ import annotations

from runtime.errors import ContainerError
from runtime.record import Record
from runtime.seccomp.constants import ARCHITECTURES

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ctypes

# From number 424 on, all architectures share one table (scripts/syscall.tbl in the kernel). What a
# profile does must not depend on the age of the library: these are newer than libseccomp 2.4.
_COMMON = {
    name: 438 + index
    for index, name in enumerate(
        "pidfd_getfd faccessat2 process_madvise epoll_pwait2 mount_setattr quotactl_fd "
        "landlock_create_ruleset landlock_add_rule landlock_restrict_self memfd_secret "
        "process_mrelease futex_waitv set_mempolicy_home_node cachestat fchmodat2 "
        "map_shadow_stack futex_wake futex_wait futex_requeue statmount listmount "
        "lsm_get_self_attr lsm_set_self_attr lsm_list_modules mseal setxattrat getxattrat "
        "listxattrat removexattrat open_tree_attr file_getattr file_setattr listns "
        "rseq_slice_yield".split()
    )
}
# The kernel puts these into a program that is being traced by probes.
_X86_64 = {"uretprobe": 335, "uprobe": 336}
# What the first number of an architecture is, where it is not 0.
X32_BIT = 0x4000_0000
_FIRST = {
    "SCMP_ARCH_X32": X32_BIT,
    "SCMP_ARCH_MIPS": 4000,
    "SCMP_ARCH_MIPSEL": 4000,
    "SCMP_ARCH_MIPS64": 5000,
    "SCMP_ARCH_MIPSEL64": 5000,
    "SCMP_ARCH_MIPS64N32": 6000,
    "SCMP_ARCH_MIPSEL64N32": 6000,
}


class Multiplexed(Record):
    """A call that is (also) made through another one, whose first argument says which it is."""

    number: int  # of socketcall or ipc
    call: int
    mask: int  # the bits of that argument that count


class Numbers(Record):
    """How one system call is made on one architecture."""

    direct: int | None = None
    multiplexed: Multiplexed | None = None


_library: ctypes.CDLL | None = None
_direct: dict[str, dict[str, int]] = {}


def numbers_of(name: str, architecture: str) -> Numbers:
    """How `name` is called on SCMP_ARCH_…: not at all, if neither table has it."""
    if not name.isascii() or not name.isidentifier():  # C would stop at a NUL inside
        return Numbers()
    number = _resolve(name, architecture)
    if number >= 0:
        return Numbers(direct=number)
    # libseccomp's own numbers: -100 minus the number for socketcall, -200 minus that for ipc.
    if -120 <= number <= -101 or -224 <= number <= -201:
        through, mask = ("socketcall", 0xFFFF_FFFF) if number > -200 else ("ipc", 0xFFFF)
        multiplexer = _resolve(through, architecture)
        if multiplexer >= 0:
            return Numbers(
                direct=_direct_numbers(architecture).get(name),
                multiplexed=Multiplexed(number=multiplexer, call=-number % 100, mask=mask),
            )
    newer = _COMMON | (_X86_64 if architecture == "SCMP_ARCH_X86_64" else {})
    if name in newer:
        return Numbers(direct=_FIRST.get(architecture, 0) + newer[name])
    return Numbers()


def libseccomp_version() -> str:
    """The version of the library that is used, such as "2.5.4"."""
    import ctypes

    function = _loaded().seccomp_version
    function.restype = ctypes.POINTER(ctypes.c_uint * 3)
    return ".".join(str(number) for number in function().contents)


def _resolve(name: str, architecture: str) -> int:
    import ctypes

    resolve = _loaded().seccomp_syscall_resolve_name_arch
    token = ctypes.c_uint32(ARCHITECTURES[architecture])
    number: int = resolve(token, name.encode())
    if number == -1 and resolve(token, b"read") == -1:
        raise ContainerError(
            f"seccomp: libseccomp {libseccomp_version()} does not know {architecture}",
            hint="a newer libseccomp may, or leave the architecture out of the profile",
        )
    return number


def _direct_numbers(architecture: str) -> dict[str, int]:
    """All real numbers: of a call that is multiplexed, the library says only that it is."""
    if architecture not in _direct:
        import ctypes

        name_of = _loaded().seccomp_syscall_resolve_num_arch
        name_of.restype = ctypes.c_void_p
        free = ctypes.CDLL(None).free
        free.argtypes = [ctypes.c_void_p]
        token = ctypes.c_uint32(ARCHITECTURES[architecture])
        table = _direct[architecture] = {}
        first = _FIRST.get(architecture, 0)
        for number in range(first, first + 1000):
            pointer = name_of(token, number)
            if pointer:
                table[ctypes.string_at(pointer).decode()] = number
                free(pointer)
    return _direct[architecture]


def _loaded() -> ctypes.CDLL:
    global _library
    if _library is None:
        import ctypes

        try:
            _library = ctypes.CDLL("libseccomp.so.2")
        except OSError as error:
            raise ContainerError(
                f"seccomp: this profile must be compiled, and that needs libseccomp: {error}",
                hint="install libseccomp2 (Debian, Ubuntu) or libseccomp (Fedora, Alpine)",
            ) from error
    return _library
