"""The filter of a container, ready to be installed; the one module here on the path of a start.

Our default profile is in the package as the kernel takes it, for the machines that we ship it for.
Anything else is compiled when it is first needed and kept in a cache.
"""

from __future__ import annotations

import os

from runtime.errors import ContainerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from runtime.oci.seccomp import Seccomp

# The capabilities that default.json has conditions on.
CONDITIONS = frozenset(
    "AUDIT_WRITE BPF DAC_READ_SEARCH PERFMON SYSLOG SYS_ADMIN SYS_BOOT SYS_MODULE SYS_NICE"
    " SYS_PACCT SYS_PTRACE SYS_RAWIO SYS_TIME SYS_TTY_CONFIG".split()
)
# What is shipped: capabilities of the above -> the file's name after the machine's.
VARIANTS = {frozenset[str](): "", frozenset({"AUDIT_WRITE"}): "-audit"}
MACHINES = ("aarch64", "x86_64")

# Of the form of a cached filter, and of what the same profile is compiled to.
_FORMAT = 1
_DIGEST_BYTES = 32
_INSTRUCTION_BYTES = 8
_LARGEST = _DIGEST_BYTES + 4096 * _INSTRUCTION_BYTES  # BPF_MAXINSNS

_SET_MODE_FILTER = 1  # SECCOMP_SET_MODE_FILTER, include/uapi/linux/seccomp.h
_SECCOMP = {"aarch64": 277, "ppc64le": 358, "riscv64": 277, "s390x": 348, "x86_64": 317}


def filter_for(
    seccomp: Seccomp | None, capabilities: frozenset[str], *, cache: str | None
) -> bytes:
    """The program of a profile, or of our default one, for a process with these capabilities.

    Names are without CAP_. `cache` is a directory for compiled filters, made if it is missing.
    """
    machine = os.uname().machine
    if seccomp is None:
        variant = VARIANTS.get(capabilities & CONDITIONS)
        if variant is not None and machine in MACHINES:
            with open(shipped(machine, variant), "rb") as file:
                return file.read()
        from runtime.seccomp.profile import default_profile

        seccomp = default_profile(capabilities)
    return _compiled(seccomp, machine, cache)


def shipped(machine: str, variant: str) -> str:
    """Path of a filter in the package."""
    return os.path.join(os.path.dirname(os.path.abspath(__file__)), f"{machine}{variant}.bpf")


def filter_installer(program: bytes, flags: int = 0) -> Callable[[], None]:
    """What installs a filter when it is called, and imports and allocates nothing by then.

    For a process that will see a stranger's files before it wants the filter. Needs no_new_privs
    or CAP_SYS_ADMIN, as seccomp(2); raises OSError if the kernel refuses.
    """
    call = filter_call(program, flags)

    def install() -> None:
        result = call()
        if result > 0:  # with TSYNC: the thread that could not follow
            raise ContainerError(f"seccomp: thread {result} has filters of its own")

    return install


def filter_call(program: bytes, flags: int) -> Callable[[], int]:
    """The same, returning what seccomp(2) does: with a flag for that, a listener's descriptor."""
    # The module below ctypes, which costs a tenth of it.
    from _ctypes import CFuncPtr, Structure, _SimpleCData, byref, dlopen, dlsym, get_errno

    class Short(_SimpleCData):  # type: ignore[type-arg]
        _type_ = "H"

    class Long(_SimpleCData):  # type: ignore[type-arg]
        _type_ = "l"

    class Pointer(_SimpleCData):  # type: ignore[type-arg]
        _type_ = "z"

    class Program(Structure):  # struct sock_fprog, include/uapi/linux/filter.h
        _fields_ = (("length", Short), ("filter", Pointer))

    class Function(CFuncPtr):
        _flags_ = 1 | 8  # FUNCFLAG_CDECL, FUNCFLAG_USE_ERRNO
        _restype_ = Long

    machine = os.uname().machine
    if machine not in _SECCOMP:
        raise ContainerError(f"seccomp: the number of seccomp(2) on {machine!r} is not known")
    libc = dlopen(None, os.RTLD_NOW)  # type: ignore[arg-type]  # as dlopen(3): the program
    syscall = Function(dlsym(libc, "syscall"))
    argument = Program(len(program) // _INSTRUCTION_BYTES, program)
    number, operation = Long(_SECCOMP[machine]), Long(_SET_MODE_FILTER)
    reference, wanted = byref(argument), Long(flags)

    def install() -> int:
        result: int = syscall(number, operation, wanted, reference)
        if result < 0:
            error = get_errno()
            raise OSError(error, f"seccomp(SET_MODE_FILTER, {flags:#x}): {os.strerror(error)}")
        return result

    return install


def install_filter(program: bytes, flags: int = 0) -> None:
    """Filter the calling thread's system calls from now on, as seccomp(2).

    Where nothing may be imported any more, use `filter_installer`.
    """
    filter_installer(program, flags)()


def _compiled(seccomp: Seccomp, machine: str, cache: str | None) -> bytes:
    if cache is None:
        from runtime.seccomp.compile import compile_filter

        return compile_filter(seccomp)
    from runtime.oci.digest import small_sha256

    identity = repr((_FORMAT, machine, library_version(machine), seccomp))
    path = os.path.join(cache, small_sha256(identity.encode()).hexdigest() + ".bpf")
    program = _read(path)
    if program is None:
        from runtime.seccomp.compile import compile_filter

        program = compile_filter(seccomp)
        _write(path, small_sha256(program).digest() + program)
    return program


def library_version(machine: str) -> str:
    """What tells one libseccomp, which names are looked up in, from another.

    Its file's name has the version, so it need not be loaded, which takes two milliseconds.
    """
    if "LD_LIBRARY_PATH" not in os.environ:
        # In the order in which ld.so.conf usually has them.
        for folder in ("local/lib", "local/lib64", f"lib/{machine}-linux-gnu", "lib64", "lib"):
            try:
                return os.readlink(f"/usr/{folder}/libseccomp.so.2")
            except OSError:
                continue  # not there, or no link: it is asked itself
    from runtime.seccomp.numbers import libseccomp_version

    return libseccomp_version()


def _read(path: str) -> bytes | None:
    """A cached filter, if it is whole and nobody else could have written it."""
    import stat

    from runtime.oci.digest import small_sha256

    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:  # not there, or a symlink: compiled anew
        return None
    try:
        status = os.fstat(descriptor)
        trusted = (
            stat.S_ISREG(status.st_mode)
            and status.st_uid in (0, os.geteuid())
            and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        )
        content = os.read(descriptor, _LARGEST) if trusted else b""
    finally:
        os.close(descriptor)
    program = content[_DIGEST_BYTES:]
    if not program or small_sha256(program).digest() != content[:_DIGEST_BYTES]:
        return None
    return program


def _write(path: str, content: bytes) -> None:
    """Put a filter into the cache, whole or not at all."""
    aside = f"{path}.{os.getpid()}"
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(aside, flags, 0o600)
    except OSError:  # read-only or full: the cache saves time and nothing else
        return
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
        os.rename(aside, path)
    except OSError:  # as above
        os.unlink(aside)
