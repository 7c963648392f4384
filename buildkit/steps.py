"""What a build does, as values: every variable expanded, every path absolute, nothing done yet.

The image configuration that instructions lead to is computed while planning, so executing a plan
never has to know what an instruction means for it.
"""

from __future__ import annotations

from grammar import Span
from grammar.values import Checksum, Mode
from grammar.values.mounts import Mount
from runtime.oci.image import ExecutionParameters
from runtime.record import Record


class Scratch(Record):
    """The empty base."""


class StageBase(Record):
    """Another stage of the same file, by its index, as the image for a platform needs it."""

    index: int
    image_platform: str = ""  # as the command line has it


class ImageBase(Record):
    """An image, by the name that was written."""

    name: str
    platform: str = ""  # that was asked for; empty: this machine's, or whatever it is for


class ContextBase(Record):
    """A directory that the command line gave a name."""

    name: str


Base = Scratch | StageBase | ImageBase


class About(Record):
    """What a step is called, and where it comes from."""

    span: Span  # of the instruction
    text: str  # the instruction as written, for progress
    created_by: str  # for the image's history
    author: str


class Step(Record):
    """What all steps have."""

    about: About


class ConfigureStep(Step):
    """Changes the configuration only: no layer."""


class InlineFile(Record):
    """A file whose content stands in the Containerfile (a heredoc)."""

    name: str
    content: str


class RunMount(Record):
    """What a RUN sees beside its root filesystem; target and source are absolute paths."""

    mount: Mount
    origin: Base | None  # None: a build context (bind), nothing (cache)
    span: Span
    context: str = ""  # the name of that context; empty for that of the build


class RunStep(Step):
    """Runs a process on the root filesystem."""

    args: tuple[str, ...]
    env: tuple[str, ...]
    proxies: tuple[str, ...]  # more of the environment, no part of the cache key
    cwd: str
    user: str
    network: str  # default, none or host
    insecure: bool  # with all rights
    mounts: tuple[RunMount, ...]
    script: InlineFile | None  # what args[0] names, if it stands in the Containerfile
    script_lines: range  # where the lines of a heredoc that is a script stand; empty for none
    shell: str  # for who looks around in its root
    by_hand: bool = False  # run for who looks around: never cached, and nothing is kept


class WorkdirStep(Step):
    """Makes a directory, if it is missing, for the current user."""

    path: str
    user: str


class WebFile(Record):
    """A file behind an http or https URL."""

    url: str
    name: str  # the last part of its path; empty if there is none
    checksum: Checksum | None  # what it must be


class GitTree(Record):
    """What a git repository has at a commit."""

    url: str
    ref: str  # a branch, tag or commit; empty for the default branch
    subdir: str  # the directory that is taken; empty for all
    commit: str  # what the commit's name must begin with; empty for any
    by_commit: bool  # it is fetched by this name, which is a whole one
    keep_git_dir: bool
    submodules: bool
    commit_time: bool  # files are as old as the commit


class Source(Record):
    """One source of a COPY: a path or pattern inside the context, stage or image.

    Of an ADD it may be `remote`; `path` is then as it was written.
    """

    path: str
    span: Span
    remote: WebFile | GitTree | None = None


class CopyStep(Step):
    """Copies files onto the root filesystem; `origin` None is a build context."""

    sources: tuple[Source, ...]
    inline: tuple[InlineFile, ...]
    origin: Base | None
    destination: str  # absolute; a final slash says that it is a directory
    chown: str
    chmod: Mode | None
    unpacks: bool  # archives of the context (ADD)
    unpacks_fetched: bool = False  # archives behind URLs too (ADD --unpack)
    exclude: tuple[str, ...] = ()  # patterns, relative to each source
    parents: bool = False  # a source's path is kept below the destination
    link: bool = False  # onto nothing: a layer that does not depend on those below it
    context: str = ""  # the name of the build context; empty for that of the build


class Repository(Record):
    """`--repo`: either a .repo file or URL of one (`file`), or a repository by its `url`."""

    id: str
    url: str = ""
    file: str = ""
    key: str = ""
    priority: int | None = None
    suites: tuple[str, ...] = ()  # of apt's alone, as are components
    components: tuple[str, ...] = ()
    span: Span


class Package(Record):
    """What is to be installed, in the manager's words: a name, a group, a pattern, a file."""

    text: str
    span: Span


class PackageFile(Record):
    """`--from-file`: a file of the context with a list as in a heredoc."""

    path: str
    span: Span


class BootstrapStep(Step):
    """Installs packages from outside the image."""

    name: str  # what a lock file calls it: STAGE/NUMBER/ARCHITECTURE
    manager: str  # one of MANAGERS
    packages: tuple[Package, ...]
    lists: tuple[PackageFile, ...]  # more of them, and excludes
    excludes: tuple[str, ...]
    modules: tuple[Package, ...]  # NAME:STREAM
    repositories: tuple[Repository, ...]
    keys: tuple[Package, ...]  # paths inside the context, or URLs
    releasever: str
    arch: str  # in the words of rpm, or of dpkg
    setopts: tuple[str, ...]
    dbpath: str
    langs: str
    clean: str  # one of CLEANINGS
    lock: str  # path inside the context, "off", or empty for what the command line says
    tools: Base | None  # where the manager is, instead of on this machine
    secrets: tuple[RunMount, ...]
    weak: bool
    docs: bool
    gpgcheck: bool
    allow_scriptlet_failure: bool


MANAGERS = ("auto", "dnf", "dnf5", "apt")
CLEANINGS = ("auto", "all", "none")
AnyStep = ConfigureStep | RunStep | WorkdirStep | CopyStep | BootstrapStep


def origins_of(step: AnyStep) -> tuple[tuple[Base | None, Span], ...]:
    """Where else than from its root and the context a step takes files; and who says so.

    One for each mount of a RUN, one of a COPY, one of a BOOTSTRAP with --tools.
    """
    match step:
        case CopyStep():
            return ((step.origin, step.about.span),)
        case RunStep():
            return tuple((mount.origin, mount.span) for mount in step.mounts)
        case BootstrapStep(tools=tools) if tools is not None:
            return ((tools, step.about.span),)
        case _:
            return ()


class PlannedStage(Record):
    """One stage: what it starts from and what is done to it."""

    id: StageBase  # how others call it
    name: str  # its name, or `stage-N`
    platform: str  # of what is in it
    base: Base
    base_span: Span
    steps: tuple[AnyStep, ...]
    config: ExecutionParameters


class Plan(Record):
    """Stages in the order in which they can be built."""

    stages: tuple[PlannedStage, ...]
    targets: tuple[PlannedStage, ...]  # one for each platform; a single plan's is its last stage
