"""A bundle's config.json (config.md) -> `Spec`, strictly.

What the specification calls an error is one here, whether or not the kernel would notice; so is
what is known but not done, if leaving it out would make the container another or a less safe one.
`config_writer` goes the other way.
"""

from __future__ import annotations

from runtime.oci.config_document import Table, entry, read_document, shown
from runtime.oci.config_linux import (
    cgroups_path_from,
    check_supported,
    devices_from,
    mappings_from,
    namespaces_from,
    personality_from,
    propagation_from,
    time_offsets_from,
)
from runtime.oci.config_process import process_from
from runtime.oci.config_resources import resources_from
from runtime.oci.spec import Hook, Hooks, Mount, Root, Spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runtime.oci.resources import Resources
    from runtime.oci.seccomp import Seccomp
    from runtime.oci.spec import Namespace

_NEWEST_MINOR = 3  # of version 1 of the specification
_OTHER_PLATFORMS = ("windows", "solaris", "vm", "zos", "freebsd")
_MAX_NAME = 64  # bytes: __NEW_UTS_LEN, include/uapi/linux/utsname.h
_MAX_SECONDS = 2**31 - 1


def read_config(path: str) -> Spec:
    """Read and check the config.json `path`; raises ConfigError that names it."""
    return parse_config(read_document(path), path)


def parse_config(document: object, where: str) -> Spec:
    """Check a whole configuration; raises ConfigError that names `where` and the member."""
    table = Table(document, where)
    _check_version(table)
    for platform in _OTHER_PLATFORMS:
        if table.has(platform):
            raise table.error(platform, "is not supported: containers here are Linux containers")
    process = table.table("process")
    if process is None:
        raise table.error("process", "is missing: without one there is nothing to start")
    linux = table.table("linux") or Table({}, where, "linux")
    check_supported(linux)
    namespaces = namespaces_from(linux)
    spec = Spec(
        process=process_from(process),
        root=_root(table),
        hostname=_name(table, "hostname"),
        domainname=_name(table, "domainname"),
        mounts=tuple(_mount(mount) for mount in table.tables("mounts")),
        hooks=_hooks(table),
        annotations=_annotations(table),
        namespaces=namespaces,
        uid_mappings=mappings_from(linux, "uidMappings"),
        gid_mappings=mappings_from(linux, "gidMappings"),
        time_offsets=time_offsets_from(linux),
        devices=devices_from(linux),
        cgroups_path=cgroups_path_from(linux),
        resources=_resources(linux),
        rootfs_propagation=propagation_from(linux),
        seccomp=_seccomp(linux),
        sysctl=_sysctl(linux, namespaces),
        masked_paths=linux.paths("maskedPaths"),
        readonly_paths=linux.paths("readonlyPaths"),
        personality=personality_from(linux),
    )
    _check_namespaces(spec, table, linux)
    return spec


def parse_mounts(document: object, where: str) -> tuple[Mount, ...]:
    """Check an array of mounts on its own, as `mounts add` takes it; raises ConfigError."""
    return tuple(_mount(mount) for mount in Table({"mounts": document}, where).tables("mounts"))


def _check_version(table: Table) -> None:
    """Accept what 1.0.0 to the newest 1.x may be called; SemVer 2.0.0."""
    version = table.text("ociVersion")
    core, _, build = version.partition("+")
    numbers, dash, prerelease = core.partition("-")
    parts = numbers.split(".")
    digits = all(p.isascii() and p.isdigit() and str(int(p[:9])) == p for p in parts)
    suffixes = (prerelease if dash else "x") + (f".{build}" if "+" in version else "")
    words = suffixes.replace("-", "x").split(".")
    if len(parts) != 3 or not digits or not all(w.isascii() and w.isalnum() for w in words):
        raise table.error("ociVersion", f"{shown(version)} is not a version, such as 1.2.0")
    if parts[0] != "1" or int(parts[1]) > _NEWEST_MINOR:
        what = f"is {version}, only 1.0 to 1.{_NEWEST_MINOR} are supported"
        raise table.error("ociVersion", what)


def _root(table: Table) -> Root:
    root = table.table("root")
    if root is None:
        raise table.error("root", "is missing")
    return Root(path=root.text("path"), readonly=root.flag("readonly"))


def _name(table: Table, member: str) -> str:
    name = table.optional_text(member) or ""
    if len(name.encode("utf-8", "surrogateescape")) > _MAX_NAME:
        raise table.error(member, f"{shown(name)} is longer than {_MAX_NAME} bytes")
    return name


def _mount(table: Table) -> Mount:
    # Version 1.0.0 of the specification allowed paths relative to "/".
    destination = "/" + table.text("destination").removeprefix("/")
    uid_mappings = mappings_from(table, "uidMappings")
    gid_mappings = mappings_from(table, "gidMappings")
    if bool(uid_mappings) != bool(gid_mappings):
        missing, given = ("gidMappings", "uid") if uid_mappings else ("uidMappings", "gid")
        raise table.error(missing, f"is missing, but {given}Mappings is there")
    return Mount(
        destination=destination,
        type=table.optional_text("type") or "",
        source=table.optional_text("source") or "",
        # Engines split "a,,b" at commas: what is empty means nothing.
        options=tuple(option for option in table.strings("options") if option),
        uid_mappings=uid_mappings,
        gid_mappings=gid_mappings,
    )


def _hooks(table: Table) -> Hooks | None:
    points = table.table("hooks")
    if points is None:
        return None

    def hooks(point: str) -> tuple[Hook, ...]:
        return tuple(
            Hook(
                path=hook.path("path"),
                args=hook.strings("args"),
                env=hook.strings("env"),
                timeout_s=hook.optional_integer("timeout", 1, _MAX_SECONDS),
            )
            for hook in points.tables(point)
        )

    return Hooks(
        prestart=hooks("prestart"),
        create_runtime=hooks("createRuntime"),
        create_container=hooks("createContainer"),
        start_container=hooks("startContainer"),
        poststart=hooks("poststart"),
        poststop=hooks("poststop"),
    )


def _annotations(table: Table) -> tuple[tuple[str, str], ...]:
    annotations = table.texts_by_name("annotations")
    for key, _ in annotations:
        if not key:
            raise table.error(entry("annotations", key), "has an empty name")
    return annotations


def _resources(linux: Table) -> Resources | None:
    table = linux.table("resources")
    return None if table is None else resources_from(table)


def _seccomp(linux: Table) -> Seccomp | None:
    if not linux.has("seccomp"):
        return None
    from runtime.oci.config_seccomp import seccomp_from

    return seccomp_from(linux)


def _sysctl(linux: Table, namespaces: tuple[Namespace, ...]) -> tuple[tuple[str, str], ...]:
    if not linux.has("sysctl"):
        return ()
    from runtime.oci.config_sysctl import sysctls_from

    return sysctls_from(linux, namespaces)


def _check_namespaces(spec: Spec, table: Table, linux: Table) -> None:
    """Refuse what needs a namespace that the container does not get."""
    paths = {namespace.type: namespace.path for namespace in spec.namespaces}
    for member, value in (("hostname", spec.hostname), ("domainname", spec.domainname)):
        if value and "uts" not in paths:
            raise table.error(member, f"is {shown(value)}, but there is no uts namespace for it")
    for member, masks in (
        ("maskedPaths", spec.masked_paths),
        ("readonlyPaths", spec.readonly_paths),
    ):
        if masks and "mount" not in paths:
            raise linux.error(member, "needs a mount namespace")
    for member, mappings in (
        ("uidMappings", spec.uid_mappings),
        ("gidMappings", spec.gid_mappings),
    ):
        if mappings and "user" not in paths:
            raise linux.error(member, "needs a user namespace")
        if not mappings and "user" in paths and paths["user"] is None:
            raise linux.error(member, "is missing: the new user namespace would have no ids")
    if spec.time_offsets and ("time" not in paths or paths["time"] is not None):
        raise linux.error("timeOffsets", "needs a new time namespace")
    for i, mount in enumerate(spec.mounts):
        mapped = "idmap" in mount.options or "ridmap" in mount.options
        if mapped and not mount.uid_mappings and "user" not in paths:
            what = "asks for the user namespace's ids, but there is none"
            raise table.error(f"mounts[{i}].options", what)
