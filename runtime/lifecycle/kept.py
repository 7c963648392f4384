"""What a container was created with, kept in its state directory in the form that is used.

`exec`, `start` and `delete` would otherwise parse and check the configuration again, and look for
its compiled filter: a quarter of the time that an exec takes. The configuration itself is there
too: another version of this program reads that.
"""

from __future__ import annotations

from runtime.oci.packed import pack, unpack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runtime.lifecycle.state import ContainerDirectory
    from runtime.oci.spec import Spec

_NAME = "kept"


def keep(directory: ContainerDirectory, spec: Spec, program: bytes, flags: int) -> None:
    """Write a container's configuration and its seccomp filter, as `seccomp_filter` gives it."""
    # The profile is a large part of a configuration, and of no use once there is the filter.
    content = pack((spec.replace(seccomp=None), program, flags))
    directory.write_file(_NAME, content)


def spec_of(directory: ContainerDirectory) -> Spec:
    """The configuration that a container was created with, perhaps without `seccomp`."""
    return _read(directory)[0]


def filter_of(directory: ContainerDirectory) -> tuple[bytes, int]:
    """The seccomp filter that a container was created with, and its flags."""
    spec, program, flags = _read(directory)
    return seccomp_filter(spec) if program is None else (program, flags)


def _read(directory: ContainerDirectory) -> tuple[Spec, bytes | None, int]:
    """What was kept; with None for the filter if only the configuration could be used."""
    if directory.kept is None:
        try:
            with open(f"{directory.path}/{_NAME}", "rb") as file:
                directory.kept = unpack(file.read())
        except (FileNotFoundError, ValueError):  # not made yet, or by another version
            from runtime.oci.config import read_config

            directory.kept = read_config(f"{directory.path}/config.json"), None, 0
    return directory.kept


def seccomp_filter(spec: Spec) -> tuple[bytes, int]:
    """The compiled filter of a spec and its flags; empty if the spec has none."""
    if spec.seccomp is None:
        return b"", 0
    from runtime.seccomp.load import filter_for
    from runtime.store.store import default_root

    flags = 0
    if spec.seccomp.flags:
        from runtime.seccomp.compile import filter_flags

        flags = filter_flags(spec.seccomp)
    cache = f"{default_root()}/seccomp"
    names = spec.process.capabilities.bounding
    return filter_for(spec.seccomp, names, cache=cache), flags
