"""Running `dnf --installroot` so that nothing leaks in from the host and nothing is left behind.

dnf runs in a container whose root is the host's, read-only but for the new root and the state
below /dev/pybuild: its own PID namespace (a kill leaves no scriptlet running), a private /dev and
/proc for the scriptlets, no configuration but ours. dnf 4 applies cachedir and logdir twice, once
below the new root; below /dev, that is a tmpfs which goes away.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources

from buildkit.bootstrap import cleaning, transcript
from buildkit.bootstrap.repositories import Repositories, write_repositories
from buildkit.errors import BuildError, HostError
from buildkit.processes import call_in_mount_namespace, run_container
from buildkit.snapshot import Snapshot
from buildkit.steps import BootstrapStep
from runtime.oci.spec import Mount, Namespace, Process, Spec
from runtime.sandbox import capabilities
from runtime.sandbox.rootfs import Bind, Directory
from runtime.store.store import Store
from runtime.store.workspace import Workspace

_STATE = "/dev/pybuild"  # as dnf sees it
_DEFAULT_DBPATH = cleaning.DATABASE_PLACES[0]
_OUTPUT_KEPT = 1 << 22  # bytes of dnf's output that are searched for faults


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """What an installation put there."""

    epoch: int  # newest build time of the packages, seconds; or the given epoch
    packages: int


def find_manager() -> str:
    """Path of the host's dnf; raises HostError with what to install."""
    path = shutil.which("dnf") or shutil.which("dnf5")
    if path is None:
        raise HostError(
            "BOOTSTRAP needs dnf, and this machine has none",
            hint="install it (Debian: apt-get install dnf; Fedora, RHEL: dnf install dnf)",
        )
    return os.path.realpath(path)


def install(
    step: BootstrapStep,
    repositories: Repositories,
    snapshot: Snapshot,
    *,
    store: Store,
    work: Workspace,
    epoch: int | None,
    least_epoch: int,
    output: Callable[[bytes], None],
) -> Installed:
    """Install the step's packages into a snapshot.

    `epoch` is the given one, for install times; without it the packages' own times decide, but
    none before `least_epoch`. Raises BuildError, NetworkError or HostError.
    """
    manager = find_manager()
    state = work.directory("dnf")
    for name in ("home", "log", "persist", "tmp", "vars", "plugins", "none", "cache"):
        os.mkdir(f"{state}/{name}")
    root, prepare = _root(snapshot, work)
    before = cleaning.present(snapshot.upper)
    dbpath = step.dbpath or _present_database(snapshot) or _DEFAULT_DBPATH
    _configure(step, repositories, state, dbpath)
    is_dnf5 = os.path.basename(manager) == "dnf5"
    environment = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "LANG": "C.UTF-8",
        "PYBUILD_EPOCH": str(least_epoch),
        "PYBUILD_RESOLVED": f"{_STATE}/resolved.json",
    }
    if epoch is not None:
        environment["SOURCE_DATE_EPOCH"] = str(epoch)
    elif is_dnf5:  # it loads no Python plugin: the repositories' own time is the next best
        environment["SOURCE_DATE_EPOCH"] = str(max(least_epoch, repositories.revision))
    said = bytearray()

    def listen(chunk: bytes) -> None:
        said.extend(chunk[: _OUTPUT_KEPT - len(said)])
        output(chunk)

    status = run_container(
        _spec(
            _arguments(manager, step, root, is_dnf5=is_dnf5),
            environment,
            mounts=_mounts(root, state, _package_cache(store, repositories)),
        ),
        Directory(path="/", readonly=True, binds=_binds(root, state, repositories)),
        scratch=store.scratch,
        devices=("/dev", f"{root}/dev"),
        prepare=prepare,
        output=listen,
    )
    text = said.decode("utf-8", "replace")
    _judge(text, status, step)
    call_in_mount_namespace(lambda: _finish(root, prepare, dbpath, step.dbpath, before))
    return _result(state, environment)


def _root(snapshot: Snapshot, work: Workspace) -> tuple[str, Callable[[], None] | None]:
    """Path that dnf installs to, and what mounts it there if it has layers below."""
    if not snapshot.lowers:
        # Not what the filesystem package would make them: it cannot, they are mounted on.
        for name, mode in (("dev", 0o755), ("proc", 0o555), ("sys", 0o555)):
            os.mkdir(f"{snapshot.upper}/{name}")
            os.chmod(f"{snapshot.upper}/{name}", mode)
        return snapshot.upper, None
    scratch = work.directory("install")
    rootfs = snapshot.rootfs()

    def prepare() -> None:
        rootfs.attach(scratch)

    return f"{scratch}/root", prepare


def _present_database(snapshot: Snapshot) -> str | None:
    for lower in snapshot.lowers:
        for place in cleaning.DATABASE_PLACES:
            if os.path.isfile(f"{lower}{place}/rpmdb.sqlite"):
                return place
    return None


def _configure(step: BootstrapStep, repositories: Repositories, state: str, dbpath: str) -> None:
    write_repositories(repositories, step, _STATE, state)
    # The only way to reach rpm's macros through dnf 4 is the home directory.
    # Packages own /proc and its like too, which are mounted while rpm runs: it must leave them.
    macros = [f"%_dbpath {dbpath}", "%_netsharedpath /dev:/proc:/sys"]
    if step.langs:
        macros.append(f"%_install_langs {step.langs.replace(',', ':')}")
    with open(f"{state}/home/.rpmmacros", "w", encoding="utf-8") as file:
        file.write("\n".join(macros) + "\n")
    with open(f"{state}/dnf.conf", "w", encoding="utf-8") as file:
        file.write(
            "[main]\ngpgcheck=1\nbest=1\nskip_if_unavailable=0\nassumeyes=1\nkeepcache=1\n"
            "plugins=1\nclean_requirements_on_remove=1\n"
        )
    plugin = resources.files("buildkit.bootstrap").joinpath("dnf_plugin.py")
    with open(f"{state}/plugins/pybuild.py", "w", encoding="utf-8") as file:
        file.write(plugin.read_text(encoding="utf-8"))


def _arguments(manager: str, step: BootstrapStep, root: str, *, is_dnf5: bool) -> tuple[str, ...]:
    # fmt: off
    arguments = [
        manager,
        "--assumeyes",
        "--config", f"{_STATE}/dnf.conf",
        "--installroot", root,
        "--setopt", f"reposdir={_STATE}/repos",
        "--setopt", f"varsdir={_STATE}/vars",
        "--setopt", f"pluginconfpath={_STATE}/none",
        "--setopt", f"pluginpath={_STATE}/plugins",
        "--setopt", f"cachedir={_STATE}/cache",
        "--setopt", f"persistdir={_STATE}/persist",
        "--setopt", f"logdir={_STATE}/log",
        "--setopt", f"install_weak_deps={int(step.weak)}",
        "--refresh",  # a changed file: repository would go unnoticed for two days
    ]
    # fmt: on
    if is_dnf5:
        # As root it would use the system's cache, whatever cachedir says.
        arguments += ["--setopt", f"system_cachedir={_STATE}/cache"]
    if not step.docs:
        arguments += ["--setopt", "tsflags=nodocs"]
    if step.releasever:
        arguments += [f"--releasever={step.releasever}"]
    if not step.gpgcheck:
        arguments += ["--nogpgcheck" if not is_dnf5 else "--no-gpgchecks"]
    arguments += [f"--exclude={exclude}" for exclude in step.excludes]
    for setopt in step.setopts:
        arguments += ["--setopt", setopt]
    return (*arguments, "install", *step.packages)


def _mounts(root: str, state: str, cache: str) -> tuple[Mount, ...]:
    closed = ("nosuid", "noexec", "nodev")
    return (
        Mount(destination="/proc", type="proc", source="proc", options=closed),
        Mount(destination=_STATE, type="bind", source=state),
        Mount(destination=f"{_STATE}/cache", type="bind", source=cache),
        Mount(destination="/root", type="bind", source=f"{state}/home"),
        Mount(destination=f"{root}/proc", type="proc", source="proc", options=closed),
        Mount(destination=f"{root}/sys", type="bind", source="/sys", options=("rbind", "ro")),
    )


def _binds(root: str, state: str, repositories: Repositories) -> tuple[Bind, ...]:
    """What is not read-only, or must be seen although /tmp is the bootstrap's own."""
    # libdnf takes /tmp whatever TMPDIR says.
    local = (Bind(destination=p, source=p, readonly=True) for p in repositories.local_paths())
    tmp = Bind(destination="/tmp", source=f"{state}/tmp")
    return (tmp, *local, Bind(destination=root, source=root))


def _spec(
    arguments: tuple[str, ...], environment: dict[str, str], mounts: tuple[Mount, ...]
) -> Spec:
    return Spec(
        process=Process(
            args=arguments,
            env=tuple(f"{name}={value}" for name, value in environment.items()),
            # rpm owns files to everybody, makes devices, changes the root, sets capabilities.
            capabilities=capabilities.ALL,
            no_new_privileges=False,
        ),
        mounts=mounts,
        namespaces=(Namespace(type="pid"), Namespace(type="mount"), Namespace(type="ipc")),
    )


def _package_cache(store: Store, repositories: Repositories) -> str:
    """A directory for packages, kept between builds: one for each set of repositories."""
    names = json.dumps([[s.id, s.options] for s in repositories.sections])
    path = f"{store.root}/dnf/{hashlib.sha256(names.encode()).hexdigest()[:32]}"
    os.makedirs(path, exist_ok=True)
    return path


def _judge(text: str, status: int, step: BootstrapStep) -> None:
    """Raise for what went wrong, also if dnf itself thought nothing of it."""
    if status:
        raise transcript.failure(text, status)
    scriptlets = transcript.failed_scriptlets(text)
    if scriptlets and not step.allow_scriptlet_failure:
        raise BuildError(
            "; ".join(scriptlets), hint="--allow-scriptlet-failure accepts the result as it is"
        )
    owners = transcript.unknown_owners(text)
    if owners:
        raise BuildError(
            f"files belong to {', '.join(owners)}, which the system does not have",
            hint="packages that count on rpm >= 4.19 to make users need a newer rpm on the host",
        )


def _finish(
    root: str,
    prepare: Callable[[], None] | None,
    dbpath: str,
    asked_dbpath: str,
    before: frozenset[str],
) -> None:
    if prepare is not None:
        prepare()
    cleaning.clean(root, dbpath=dbpath, before=before)
    if not asked_dbpath:
        _move_database(dbpath)


def _move_database(dbpath: str) -> None:
    """Put the database where the rpm of the new system looks for it. Runs inside the new root."""
    try:
        with open("/usr/lib/rpm/macros", encoding="utf-8", errors="replace") as file:
            found = re.search(r"^%_dbpath\s+(\S+)", file.read(), re.MULTILINE)
    except OSError:  # the system has no rpm of its own
        return
    if found is None:
        return
    wanted = found[1].replace("%{_var}", "/var").replace("%{_usr}", "/usr")
    wanted = wanted.replace("%{_prefix}", "/usr").replace("%{_localstatedir}", "/var")
    if "%" in wanted or os.path.realpath(wanted) == os.path.realpath(dbpath):
        return
    os.makedirs(wanted, exist_ok=True)
    for name in os.listdir(dbpath):
        shutil.move(f"{dbpath}/{name}", f"{wanted}/{name}")
    os.rmdir(dbpath)


def _result(state: str, environment: dict[str, str]) -> Installed:
    try:
        with open(f"{state}/resolved.json", encoding="utf-8") as file:
            resolved = json.load(file)
    except FileNotFoundError:  # dnf5, or nothing was left to install
        epoch = environment.get("SOURCE_DATE_EPOCH", environment["PYBUILD_EPOCH"])
        return Installed(epoch=int(epoch), packages=0)
    return Installed(epoch=resolved["epoch"], packages=len(resolved["packages"]))
