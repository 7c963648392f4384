"""The instructions of a Containerfile as values, one class per instruction.

Field by field this is what was written (https://docs.docker.com/reference/dockerfile/):
variables are not expanded, paths not resolved, flags not combined. A `Word` still holds its
quotes and variables; `Containerfile.expand` turns it into a string. Fields that the builder
never expands are plain strings.
"""

from __future__ import annotations

from grammar.parts import Command, Heredoc, Word
from grammar.record import Record
from grammar.source import Span


class KeyValue(Record):
    """`KEY=value`, both of which are expanded."""

    key: Word
    value: Word


class ArgPair(Record):
    """`NAME` or `NAME=default`; None is not the same as an empty default."""

    name: str
    default: Word | None
    span: Span


class Written(Record):
    """What every instruction has: its place, its text with continuations joined, and the
    comment lines right above it (without `#`)."""

    span: Span
    text: str
    comments: tuple[str, ...] = ()


class From(Written):
    """Start a stage: FROM [--platform=P] IMAGE [AS NAME]."""

    image: Word
    platform: Word | None
    name: str | None  # lower-cased
    name_span: Span | None


class Arg(Written):
    """Declare build arguments: ARG NAME[=DEFAULT]..."""

    pairs: tuple[ArgPair, ...]


class Env(Written):
    """Set variables of the image: ENV KEY=VALUE... (`legacy`: ENV KEY VALUE)."""

    pairs: tuple[KeyValue, ...]
    legacy: bool


class Label(Written):
    """Add metadata: LABEL KEY=VALUE... (`legacy`: LABEL KEY VALUE)."""

    pairs: tuple[KeyValue, ...]
    legacy: bool


class Run(Written):
    """Run a command and keep what it changed: RUN [flags] COMMAND."""

    command: Command
    heredocs: tuple[Heredoc, ...]
    mounts: tuple[Word, ...]
    network: Word | None
    security: Word | None
    devices: tuple[Word, ...]


class Copy(Written):
    """Copy from the context, a stage or an image: COPY [flags] SOURCE... DESTINATION."""

    sources: tuple[Word, ...]
    heredocs: tuple[Heredoc, ...]
    destination: Word
    from_: Word | None
    chown: Word | None
    chmod: Word | None
    link: bool
    parents: bool
    exclude: tuple[Word, ...]


class Add(Written):
    """Copy files, unpack archives, download: ADD [flags] SOURCE... DESTINATION."""

    sources: tuple[Word, ...]
    heredocs: tuple[Heredoc, ...]
    destination: Word
    chown: Word | None
    chmod: Word | None
    checksum: Word | None
    link: bool
    keep_git_dir: bool | None  # None: not said, which is not the same as false
    unpack: bool | None  # None: local archives only
    exclude: tuple[Word, ...]


class Cmd(Written):
    """Default command of the image, or default arguments of its entry point."""

    command: Command


class Entrypoint(Written):
    """Program that a container of the image starts."""

    command: Command


class Workdir(Written):
    """Directory for what follows, made if missing."""

    path: Word


class User(Written):
    """USER[:GROUP] for what follows and for the container."""

    user: Word


class Expose(Written):
    """Ports that the image serves; each word may expand to several."""

    ports: tuple[Word, ...]


class Volume(Written):
    """Directories that a container keeps outside its own file system."""

    paths: tuple[Word, ...]


class Stopsignal(Written):
    """Signal that stops the container."""

    signal: Word


class Shell(Written):
    """Program that runs the shell forms which follow."""

    args: tuple[str, ...]


class Healthcheck(Written):
    """How to test that a container works; `command` None is HEALTHCHECK NONE.

    A time or count of 0 was not set: the runtime chooses.
    """

    command: Command | None
    interval_ns: int
    timeout_ns: int
    start_period_ns: int
    start_interval_ns: int
    retries: int


class Maintainer(Written):
    """Author of the image (deprecated in favour of a label)."""

    author: str


class Bootstrap(Written):
    """Install packages from outside the image (our extension to the language).

    `packages` holds the words of the line, of a JSON form or of a heredoc list; a list entry
    that starts with `-` is in `excludes`, without the dash.
    """

    packages: tuple[Word, ...]
    heredocs: tuple[Heredoc, ...]
    manager: Word | None
    releasever: Word | None
    arch: Word | None
    repos: tuple[Word, ...]
    keys: tuple[Word, ...]
    excludes: tuple[Word, ...]
    modules: tuple[Word, ...]
    setopts: tuple[Word, ...]
    from_files: tuple[Word, ...]
    mounts: tuple[Word, ...]
    langs: Word | None
    dbpath: Word | None
    clean: Word | None
    lock: Word | None
    tools: Word | None
    weak: bool
    docs: bool
    nogpgcheck: bool
    allow_scriptlet_failure: bool


class Onbuild(Written):
    """An instruction for the builds that start from this image.

    `trigger` is its text as stored in the image, heredoc bodies included;
    `parse_trigger` reads it back.
    """

    instruction: Instruction
    trigger: str


Instruction = (
    From
    | Arg
    | Env
    | Label
    | Run
    | Copy
    | Add
    | Cmd
    | Entrypoint
    | Workdir
    | User
    | Expose
    | Volume
    | Stopsignal
    | Shell
    | Healthcheck
    | Maintainer
    | Bootstrap
    | Onbuild
)
