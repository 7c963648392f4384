"""`pybuild`'s options, under docker's and podman's names."""

from __future__ import annotations

import os

from buildkit.command_words import TABLE
from buildkit.errors import UsageError
from buildkit.stored_outputs import StoredOutput, joined, read_word
from runtime.errors import UsageError as OptionError
from runtime.record import Record

SHELL_COMMAND, VERIFY_COMMAND, SBOM_COMMAND = "shell", "verify-reproducible", "sbom"
LOCK_COMMAND, LOCK_NAME = "lock", "pybuild.lock"
CONTAINERFILES = ("Containerfile", "Dockerfile")
REGISTRY_COMMANDS = ("pull", "push", "login", "logout")  # see registry_commands
DOCTOR_COMMAND, BAKE_COMMAND = "doctor", "bake"
IMAGE_COMMANDS = ("images", "inspect", "history", "tag", "rmi")  # see image_commands
STORE_COMMANDS = ("du", "prune", "reset", "verify-store", "cache")  # see store_commands
ARCHIVE_COMMANDS = ("load", "save", "convert")  # see archive_commands
_CALLS = ("build", "check", "outline", "targets", "ast", "sexpr", "expand")
# Also by buildah's names; its third one is the same word.
_ISOLATIONS = {
    "": "auto",
    "auto": "auto",
    "namespaces": "namespaces",
    "oci": "namespaces",
    "rootless": "namespaces",
    "chroot": "chroot",
}
_NO_LIMIT = 1 << 31
_LAST_SECOND = 253402300799  # of the year 9999, the last that RFC 3339 can say
_FORMATS = {
    "build": ("oci", "docker"),
    "check": ("text", "json", "sarif", "github", "codeclimate"),
    "outline": ("text", "json"),
    "targets": ("text", "json"),
}


class CommandLine(Record):
    """A parsed command line."""

    context: str = "."
    file: str = ""
    outputs: tuple[str, ...] = ()
    compression: str = ""
    squash: bool = False
    squash_all: bool = False
    labels: tuple[str, ...] = ()
    annotations: tuple[str, ...] = ()
    timestamp: str = ""
    metadata_file: str = ""
    tags: tuple[str, ...] = ()
    target: str | None = None
    platforms: tuple[str, ...] = ()
    build_args: tuple[str, ...] = ()
    build_contexts: tuple[str, ...] = ()
    no_cache: bool = False
    pull: str = ""  # empty: missing
    push: bool = False
    load: bool = False
    stored: bool = False  # no file is asked for
    no_cache_filter: tuple[str, ...] = ()
    cache_from: tuple[str, ...] = ()
    cache_to: tuple[str, ...] = ()
    explain: bool = False
    isolation: str = ""  # empty: not said; see `isolation`
    iidfile: str = ""
    report: str = ""
    digest_file: str = ""
    sboms: tuple[str, ...] = ()
    attests: tuple[str, ...] = ()
    provenance: str = ""
    at: str = ""
    on_fail: str = ""
    shell: bool = False  # `pybuild shell`
    verify: bool = False  # `pybuild verify-reproducible`
    lock: bool = False  # `pybuild lock`
    locked: bool = False
    no_lock: bool = False
    lockfile: str = ""
    updates: tuple[str, ...] = ()
    vendor: str = ""
    architectures: tuple[str, ...] = ()
    progress: str = ""
    jobs: str = ""  # empty: not said; see `steps_at_once`
    secrets: tuple[str, ...] = ()
    ssh: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    network: str = ""
    add_hosts: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    shm_size: str = ""
    ulimits: tuple[str, ...] = ()
    memory: str = ""
    cpus: str = ""
    call: str = "build"
    word: tuple[str, ...] = ()  # of --call expand: the word, then NAME=VALUE
    format: str = ""  # empty: text, or oci
    error_format: str = "text"
    quiet: bool = False
    root: str | None = None
    help: bool = False
    version: bool = False


def parse_command_line(arguments: list[str]) -> CommandLine:
    """Parse the arguments; raises UsageError."""
    try:
        words = ["--pull=always" if word == "--pull" else word for word in arguments]
        fields, operands = TABLE.parse(words, operands_end_options=False)
    except OptionError as error:
        raise UsageError(error.message, hint=error.hint) from None
    if fields.pop("check", False):
        fields["call"] = "check"
    if fields.get("call") == "expand":
        fields["word"], operands = tuple(operands), []
    if operands and operands[0] == "build":  # docker's and podman's habit
        operands = operands[1:]
    elif operands and operands[0] == SHELL_COMMAND:
        fields["shell"], operands = True, operands[1:]
    elif operands and operands[0] == VERIFY_COMMAND:
        fields["verify"], operands = True, operands[1:]
    elif operands and operands[0] == LOCK_COMMAND:
        fields["lock"], operands = True, operands[1:]
    if len(operands) > 1:
        raise UsageError(f"one context expected, not {' '.join(operands)}", hint="pybuild --help")
    if operands:
        fields["context"] = operands[0]
    line = _with_stored_outputs(CommandLine(**fields))
    if line.call not in _CALLS:
        raise UsageError(f"--call {line.call!r}: {', '.join(_CALLS)}")
    if line.format and line.format not in _FORMATS.get(line.call, ("text",)):
        raise UsageError(f"--format {line.format!r} is not a format of --call {line.call}")
    if line.pull not in ("", "always", "missing", "never", "newer", "true", "false"):
        raise UsageError(f"--pull={line.pull}: always, missing, never or newer")
    if line.push and not line.tags:
        raise UsageError("--push: to what name?", hint="-t REGISTRY/NAME:TAG")
    if line.at and not (line.shell and line.at.isascii() and line.at.isdigit() and int(line.at)):
        raise UsageError(f"--at {line.at!r}: the number of a line, for pybuild shell")
    if line.on_fail not in ("", "shell"):
        raise UsageError(f"--on-fail {line.on_fail!r}: shell")
    check_formats(line.report, line.error_format)
    if line.call == "expand" and not line.word:
        raise UsageError("--call expand WORD [NAME=VALUE...]: no word given")
    for tag in line.tags:
        check_name(tag, "-t")
    _check_unused(line)
    return line


def _with_stored_outputs(line: CommandLine) -> CommandLine:
    """The same with what outputs say that are no files."""
    read = [(word, read_word(word)) for word in line.outputs]
    kept = tuple(word for word, output in read if output is None)
    said = StoredOutput(names=line.tags, pushes=line.push, compression=line.compression)
    found = joined([said, *(output for _, output in read if output is not None)])
    return line.replace(
        outputs=kept,
        stored=len(kept) < len(line.outputs),
        tags=found.names,
        push=found.pushes,
        compression=found.compression,
    )


def _check_unused(line: CommandLine) -> None:
    """Refuse what names a result where there is none."""
    for option, given in {
        "--update": line.updates,
        "--vendor": line.vendor,
        "--arch": line.architectures,
    }.items():
        if given and not line.lock:
            raise UsageError(f"{option} is for pybuild {LOCK_COMMAND}")
    locking = [name for name, on in (("--locked", line.locked), ("--no-lock", line.no_lock)) if on]
    if len(locking) > 1 or (locking and line.lock):
        raise UsageError(f"{locking[-1]} with {'pybuild lock' if line.lock else locking[0]}")
    if not (line.shell or line.verify or line.lock):
        return
    results = {
        "-o": line.outputs,
        "-t": line.tags,
        "--iidfile": line.iidfile,
        "--report": line.report,
        "--digest-file": line.digest_file,
        "--metadata-file": line.metadata_file,
        "--sbom": line.sboms,
        "--attest": line.attests,
        "--provenance": line.provenance,
        "--cache-to": line.cache_to,
    }
    for option, given in results.items():
        if given:
            command = next(
                name
                for name, on in (
                    (SHELL_COMMAND, line.shell),
                    (VERIFY_COMMAND, line.verify),
                    (LOCK_COMMAND, True),
                )
                if on
            )
            raise UsageError(f"pybuild {command} writes nothing: {option} has no place there")


def check_formats(report: str, error_format: str) -> None:
    """Refuse other values of --report and --error-format; raises UsageError."""
    if report and not report.startswith("junit="):
        raise UsageError(f"--report {report!r}: junit=FILE expected")
    if error_format not in ("text", "json"):
        raise UsageError(f"--error-format {error_format!r}: text or json")


def check_choices(line: CommandLine) -> None:
    """Refuse senseless values also where a recorded build is the answer; raises UsageError."""
    isolation(line)
    steps_at_once(line)
    progress_kind(line)


def isolation(line: CommandLine) -> str:
    """What --isolation or else PYBUILD_ISOLATION asks for: auto, namespaces or chroot."""
    name, value = "--isolation", line.isolation
    if not value:
        name, value = "PYBUILD_ISOLATION", os.environ.get("PYBUILD_ISOLATION", "")
    if value not in _ISOLATIONS:
        raise UsageError(f"{name} {value!r}: auto, namespaces or chroot")
    return _ISOLATIONS[value]


def progress_kind(line: CommandLine) -> str:
    """What --progress or else BUILDKIT_PROGRESS asks for; "" and auto leave it open."""
    name, value = "--progress", line.progress
    if not value:
        name, value = "BUILDKIT_PROGRESS", os.environ.get("BUILDKIT_PROGRESS", "")
    if value not in ("", "auto", "plain", "tty", "rawjson", "quiet"):
        raise UsageError(f"{name} {value!r}: auto, plain, tty, rawjson or quiet")
    return value


def steps_at_once(line: CommandLine) -> int:
    """How many steps --jobs allows at the same time."""
    if not line.jobs:
        return len(os.sched_getaffinity(0))
    if not (line.jobs.isascii() and line.jobs.isdigit()):
        raise UsageError(f"--jobs {line.jobs!r}: a number expected, 0 for no limit")
    return int(line.jobs) or _NO_LIMIT


def store_limit() -> int:
    """Bytes that PYBUILD_STORE_LIMIT lets the store have; 0 for no limit."""
    text = os.environ.get("PYBUILD_STORE_LIMIT", "")
    if not text:
        return 0
    from runtime.limits import size

    try:
        return size(text, "PYBUILD_STORE_LIMIT")
    except OptionError as error:
        raise UsageError(error.message, hint=error.hint) from None


def build_arguments(items: tuple[str, ...]) -> dict[str, str]:
    """The --build-arg options as a mapping; one without a value is the caller's variable.

    The caller's SOURCE_DATE_EPOCH is one without being named, as with docker buildx.
    """
    values = {name: os.environ[name] for name in ("SOURCE_DATE_EPOCH",) if os.environ.get(name)}
    for item in items:
        name, equals, value = item.partition("=")
        if not name:
            raise UsageError(f"--build-arg {item!r}: NAME=VALUE expected")
        if equals:
            values[name] = value
        elif name in os.environ:
            values[name] = os.environ[name]
    return values


def source_date_epoch(line: CommandLine) -> int | None:
    """The seconds of --timestamp or else SOURCE_DATE_EPOCH; None: not said."""
    name, text = "--timestamp", line.timestamp
    if not text:
        name = "SOURCE_DATE_EPOCH"
        text = build_arguments(line.build_args).get(name, "")
    if not text:
        return None
    if not (text.isascii() and text.isdigit()) or int(text) > _LAST_SECOND:
        raise UsageError(f"{name} {text!r}: seconds since 1970 expected")
    return int(text)


def read_containerfile(line: CommandLine) -> tuple[str, bytes]:
    """Name and content of the Containerfile; raises UsageError."""
    if line.file == "-":
        import sys

        return "<stdin>", sys.stdin.buffer.read()
    candidates = (
        [line.file] if line.file else [os.path.join(line.context, name) for name in CONTAINERFILES]
    )
    for path in candidates:
        try:
            with open(path, "rb") as file:
                return os.path.normpath(path), file.read()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror}") from error
    names = " and ".join(candidates)
    raise UsageError(f"{names}: no such file", hint="-f names the Containerfile")


def uncached_stages(line: CommandLine) -> frozenset[str]:
    """The stages of --no-cache-filter, in lower case."""
    names = (name.strip().lower() for word in line.no_cache_filter for name in word.split(","))
    return frozenset(name for name in names if name)


def further_words(line: CommandLine, name: str) -> str:
    """Other options that may change what is made, as they were written."""
    shape = (line.compression, line.squash, line.squash_all, line.labels, line.annotations)
    words = (line.network, line.add_hosts, line.volumes, line.shm_size, line.ulimits, line.allow)
    paths = os.getcwd() if line.build_contexts or line.volumes else ""
    files = (line.sboms, os.getcwd()) if line.sboms else ()
    # Provenance names the Containerfile.
    attests = line.attests or line.provenance
    attested = (line.attests, line.provenance, os.path.abspath(name)) if attests else ()
    locks = (line.locked, line.no_lock, os.path.abspath(lock_path(line, name)))
    platforms = (line.platforms, line.build_contexts)
    caches = line.cache_to  # one may be in the image
    return repr((words, shape, line.format, platforms, paths, files, attested, locks, caches))


def lock_path(line: CommandLine, name: str) -> str:
    """Where the lock file is; `name` is the Containerfile's."""
    if line.lockfile:
        return line.lockfile
    if line.file == "-":
        return os.path.join(line.context, LOCK_NAME)
    directory, file = os.path.split(name)
    # Of several in a directory, each has its own.
    own = LOCK_NAME if file in CONTAINERFILES else f"{file}.lock"
    return os.path.join(directory, own)


def check_name(tag: str, option: str) -> None:
    """Raise UsageError for what cannot be an image's name, which `option` says."""
    name, colon, label = tag.rpartition("/")[2].partition(":")
    path = tag[: len(tag) - len(label) - len(colon)]
    allowed = set("abcdefghijklmnopqrstuvwxyz0123456789._-/:")
    if not name or not set(path) <= allowed or (colon and not label):
        raise UsageError(
            f"{option} {tag!r}: not an image name", hint="lower case, as [REGISTRY/]NAME[:TAG]"
        )
