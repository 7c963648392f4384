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
from collections.abc import Callable, Mapping

from buildkit.bootstrap import cleaning, dnf, transcript
from buildkit.bootstrap.ownership import Ownership
from buildkit.bootstrap.repositories import Repositories
from buildkit.errors import BuildError, LocatedError
from buildkit.owners import Owner, Owners
from buildkit.processes import call_in_mount_namespace, run_container
from buildkit.scope import PROXIES
from buildkit.snapshot import Snapshot
from buildkit.steps import BootstrapStep
from grammar import Span
from runtime.oci.spec import Capabilities, Mount, Namespace, Process, Spec
from runtime.sandbox import capabilities, defaults
from runtime.sandbox.rootfs import Bind, Directory
from runtime.store.store import Store
from runtime.store.workspace import Workspace

DEFAULT_DBPATH = cleaning.DATABASE_PLACES[0]
_STATE = "/dev/pybuild"  # where dnf has the directory that `make_state` makes
_OUTPUT_KEPT = 1 << 22  # bytes of dnf's output that are searched for faults


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
    owners: Owners | None = None,
) -> int:
    """Install the step's packages into a snapshot; returns the newest time among them, in seconds.

    `epoch` is the given one, for install times; without it the packages' own times decide, but
    none before `least_epoch`. `owners` takes the owners that files cannot have here. Raises
    BuildError, NetworkError or HostError.
    """
    manager = dnf.find_manager()
    state = make_state(work, os.path.basename(snapshot.made))
    root, prepare = _root(snapshot, work)
    before = cleaning.present(snapshot.upper, *snapshot.lowers)
    dbpath = step.dbpath or present_database(*snapshot.lowers) or DEFAULT_DBPATH
    dnf.configure(step, repositories, state, dbpath, seen_as=_STATE)
    variables = environment(
        manager, repositories, epoch=epoch, least_epoch=least_epoch, state=_STATE
    )
    log = Log(output)
    with Ownership(owners, root=root, upper=snapshot.upper) as ownership:
        status = run_container(
            Spec(
                process=to_process(dnf.arguments(manager, step, root, _STATE), variables),
                mounts=_mounts(root, state, package_cache(store, repositories)),
                namespaces=(Namespace(type="pid"), Namespace(type="mount"), Namespace(type="ipc")),
            ),
            Directory(path="/", readonly=True, binds=_binds(root, state, repositories)),
            scratch=store.scratch,
            devices=("/dev", f"{root}/dev"),
            prepare=prepare,
            output=log.listen,
            final=ownership.entry,
            attendant=ownership.attendant,
        )
    judge(log.text, status, step)

    def clean() -> Mapping[str, Owner]:
        if prepare is not None:
            prepare()
        packaged = ownership.note_packaged(dbpath)
        finish(root, dbpath, step.dbpath, before)
        return packaged

    ownership.settle(call_in_mount_namespace(clean))
    return newest(state, variables)


class Log:
    """dnf's output: handed on, and kept to be searched for faults."""

    def __init__(self, output: Callable[[bytes], None]) -> None:
        self._output = output
        self._said = bytearray()

    def listen(self, chunk: bytes) -> None:
        """Take in a piece of output."""
        self._said.extend(chunk[: _OUTPUT_KEPT - len(self._said)])
        self._output(chunk)

    @property
    def text(self) -> str:
        """All of it so far."""
        return self._said.decode("utf-8", "replace")


def make_state(work: Workspace, name: str) -> str:
    """A directory for all that dnf reads and writes beside the new root."""
    state = work.directory(f"{name}.dnf")
    for folder in ("home", "log", "persist", "tmp", "vars", "plugins", "none", "cache"):
        os.mkdir(f"{state}/{folder}")
    return state


def environment(
    manager: str, repositories: Repositories, *, epoch: int | None, least_epoch: int, state: str
) -> dict[str, str]:
    """The environment of dnf, which has its directory at `state`."""
    variables = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "LANG": "C.UTF-8",
        **{name: os.environ[name] for name in PROXIES if name in os.environ},
        "PYBUILD_EPOCH": str(least_epoch),
        "PYBUILD_INSTALLED": f"{state}/installed.json",
    }
    if epoch is not None:
        variables["SOURCE_DATE_EPOCH"] = str(epoch)
    elif dnf.is_dnf5(manager):
        # It loads no Python plugin: the repositories' own time is the next best.
        variables["SOURCE_DATE_EPOCH"] = str(max(least_epoch, repositories.revision))
    return variables


def make_mount_points(root: str) -> None:
    """Make what a new root is mounted on."""
    # Not what the filesystem package would make them: it cannot, they are mounted on.
    for name, mode in (("dev", 0o755), ("proc", 0o555), ("sys", 0o555)):
        os.mkdir(f"{root}/{name}")
        os.chmod(f"{root}/{name}", mode)


def _root(snapshot: Snapshot, work: Workspace) -> tuple[str, Callable[[], None] | None]:
    """Path that dnf installs to, and what mounts it there if it has layers below."""
    if not snapshot.lowers:
        make_mount_points(snapshot.upper)
        return snapshot.upper, None
    scratch = work.directory(f"{os.path.basename(snapshot.made)}.install")
    rootfs = snapshot.rootfs()

    def prepare() -> None:
        rootfs.attach(scratch)

    return f"{scratch}/root", prepare


def present_database(*roots: str) -> str | None:
    """Where the first of some directories that has a package database has it."""
    for lower in roots:
        for place in cleaning.DATABASE_PLACES:
            if os.path.isfile(f"{lower}{place}/rpmdb.sqlite"):
                return place
    return None


def _mounts(root: str, state: str, cache: str) -> tuple[Mount, ...]:
    closed = ("nosuid", "noexec", "nodev")
    return (
        Mount(destination="/proc", type="proc", source="proc", options=closed),
        defaults.dev(),
        Mount(destination=_STATE, type="bind", source=state),
        Mount(destination=f"{_STATE}/cache", type="bind", source=cache),
        Mount(destination="/root", type="bind", source=f"{state}/home"),
        Mount(destination=f"{root}/proc", type="proc", source="proc", options=closed),
        defaults.dev(f"{root}/dev"),
        Mount(destination=f"{root}/sys", type="bind", source="/sys", options=("rbind", "rro")),
    )


def _binds(root: str, state: str, repositories: Repositories) -> tuple[Bind, ...]:
    """What is not read-only, or must be seen although /tmp is the bootstrap's own."""
    # libdnf takes /tmp whatever TMPDIR says.
    local = (Bind(destination=p, source=p, readonly=True) for p in repositories.local_paths())
    tmp = Bind(destination="/tmp", source=f"{state}/tmp")
    return (tmp, *local, Bind(destination=root, source=root))


def to_process(arguments: tuple[str, ...], variables: dict[str, str]) -> Process:
    """dnf as a process that may do all that rpm does."""
    return Process(
        args=arguments,
        env=tuple(f"{name}={value}" for name, value in variables.items()),
        # rpm owns files to everybody, makes devices, changes the root, sets capabilities.
        capabilities=Capabilities.granted(capabilities.ALL),
        no_new_privileges=False,
    )


def package_cache(store: Store, repositories: Repositories) -> str:
    """A directory for packages, kept between builds: one for each set of repositories."""
    names = json.dumps([[s.id, s.options] for s in repositories.sections])
    path = f"{store.root}/dnf/{hashlib.sha256(names.encode()).hexdigest()[:32]}"
    os.makedirs(path, exist_ok=True)
    return path


def judge(text: str, status: int, step: BootstrapStep) -> None:
    """Raise for what went wrong, also if dnf itself thought nothing of it."""
    if status:
        failure = transcript.failure(text, status)
        raise LocatedError(failure.error, _place(failure, step))
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


def _place(failure: transcript.Failure, step: BootstrapStep) -> Span:
    """The word of the instruction that a failure is about, else the whole instruction."""
    for repository in step.repositories:
        if repository.id and repository.id == failure.repository:
            return repository.span
    for package in step.packages:
        # "bash" asked for what failed as "bash-5.2-1.x86_64".
        for word in failure.words:
            if word == package.text or re.match(rf"{re.escape(package.text)}-[^-]+-[^-]+$", word):
                return package.span
    return step.about.span


def finish(root: str, dbpath: str, asked_dbpath: str, before: frozenset[str]) -> None:
    """Clean up a new root. To be called in a child: it changes its root directory."""
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


def newest(state: str, variables: dict[str, str]) -> int:
    """The newest time among what was installed, in seconds."""
    try:
        with open(f"{state}/installed.json", encoding="utf-8") as file:
            installed = json.load(file)
    except FileNotFoundError:  # dnf5, or nothing was left to install
        return int(variables.get("SOURCE_DATE_EPOCH", variables["PYBUILD_EPOCH"]))
    return max(int(installed["epoch"]), int(installed["newest_file"]))
