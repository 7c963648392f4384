"""`linux.sysctl` (config-linux.md "Sysctl"): only what a namespace of the container's own has.

The others would change the machine.
"""

from __future__ import annotations

import os

from runtime.oci.config_document import Table, entry, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runtime.oci.spec import Namespace

_KERNEL_NAMES = {"ipc": "ipc", "network": "net", "user": "user"}  # in /proc/self/ns
_ARTICLES = {"ipc": "an ipc", "network": "a network", "user": "a user"}


def sysctls_from(linux: Table, namespaces: tuple[Namespace, ...]) -> tuple[tuple[str, str], ...]:
    """Names, with dots as separators, and values.

    A slash within a name stands for a dot of the file's name, such as an interface's
    (sysctl.d(5)). No name leads out of /proc/sys, and none is there twice.
    """
    paths = {namespace.type: namespace.path for namespace in namespaces}
    found: dict[str, str] = {}
    for given, value in linux.texts_by_name("sysctl"):
        place = entry("sysctl", given)
        name = dotted(given)
        # A slash is a dot of the file's name, and one is all that a component is not to be.
        if any(not part.strip("/") for part in name.split(".")):
            raise linux.error(place, "is not the name of a sysctl")
        if "\n" in given or "\n" in value:
            raise linux.error(place, f"is {shown(value)}, a value of one line expected")
        if name in found:
            raise linux.error(place, "is given twice")
        if name in ("kernel.hostname", "kernel.domainname"):
            member = name.removeprefix("kernel.")
            raise linux.error(place, "cannot be set here", f"there is a member {member} for it")
        kind = _namespace_of(name)
        if kind is None:
            raise linux.error(place, "is not of a namespace: it would change the machine")
        if kind not in paths or _is_own(kind, paths[kind]):
            raise linux.error(place, f"needs {_ARTICLES[kind]} namespace of the container's own")
        found[name] = value
    return tuple(found.items())


def dotted(name: str) -> str:
    """A name with dots as separators; the first of the two that it has is its separator."""
    for character in name:
        if character == ".":
            return name
        if character == "/":
            return name.translate({ord("/"): ".", ord("."): "/"})
    return name


def _namespace_of(name: str) -> str | None:
    family, _, rest = name.partition(".")
    if family in ("net", "user") and rest:
        return "network" if family == "net" else "user"
    if family == "kernel" and (rest == "sem" or rest.startswith(("msg", "shm"))):
        return "ipc"
    if name.startswith("fs.mqueue."):
        return "ipc"
    return None


def _is_own(kind: str, path: str | None) -> bool:
    """Whether a namespace to be joined is the one that this process is in."""
    if path is None:
        return False
    try:
        return os.path.samefile(path, f"/proc/self/ns/{_KERNEL_NAMES[kind]}")
    except OSError:  # joining it will fail as well, and say so
        return False
