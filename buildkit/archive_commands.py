"""`pybuild load|save|convert`: images out of archives, and into them."""

from __future__ import annotations

import os
import sys

from buildkit.errors import BuildError, Cancelled, DiskError, UsageError
from buildkit.outputs import (
    DOCKER,
    HYBRID,
    IMAGE,
    OCI,
    OCI_DIRECTORY,
    STDOUT,
    Output,
    is_stream,
    read_output,
)
from buildkit.printing import complain
from buildkit.subcommands import MANY, disk_errors, parsed, platform_of
from runtime.options import OptionTable
from runtime.store.store import Store, default_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from buildkit.holdings import Holding
    from runtime.image.members import Members

HELP = """\
usage: pybuild load [-q] [-i FILE] [-t NAME]
       pybuild save [-o FILE] [--format KIND] [--compression HOW] NAME...
       pybuild convert [--platform PLATFORM] [-t NAME] SOURCE FILE|-|type=KIND,dest=PATH,...

load brings all images of an archive into the store, under the names that it has for them. The
archive is an OCI layout, docker's, or both, as it is or compressed by gzip, zstd, xz or bzip2, or
the directory of a layout. What is not what its digests say is refused, and then nothing is
loaded. save writes images of the store by their names or ids (without a name), what they share
once; the same images give the same bytes.
convert writes an archive, a layout (oci-layout://DIR[:TAG]) or an image of the store as what
pybuild -o can write. ARCHIVE:NAME is one image of several.

  -i, --input FILE    the archive (default: standard input)
  -o, --output FILE   where to (default: standard output)
      --format KIND   hybrid: OCI layout and docker archive at once (default)
                      oci, docker: one of these; oci-dir: the layout in a new directory
      --compression none|gzip|zstd[:LEVEL]
                      of layers (default: as they are; docker's archives: none)
      --platform OS/ARCH[/VARIANT]
                      which image of an index (default: all; for what holds one only, this
                      machine's)
  -t, --tag NAME      of load: another name for the one image of the archive; of convert: its
                      name in what is written (may be repeated)
  -q, --quiet         no warnings
      --root DIR      the store (default: $PYBUILD_ROOT, /var/lib/pybuild)

The kinds of convert are hybrid, oci, docker, oci-dir, tar, local and rootfs; oci-dir, local and
rootfs are directories.

Exit status: 0; 1 an image is not there or is damaged; 2 the command line is wrong; 5 the store or
the output cannot be written.
"""
ALLOWED = {
    "load": {"input", "quiet", "tags"},
    "save": {"output", "format", "compression"},
    "convert": {"platform", "tags", "quiet"},
}
TABLE = OptionTable(
    "pybuild load",
    values={
        "-i": "input",
        "--input": "input",
        "-o": "output",
        "--output": "output",
        "--format": "format",
        "--compression": "compression",
        "--platform": "platform",
        "--root": "root",
    },
    lists={"-t": "tags", "--tag": "tags"},
    flags={"-q": "quiet", "--quiet": "quiet", "--help": "help"},
)
_HINT = "pybuild load --help"
_FORMATS = {HYBRID: IMAGE, "oci": OCI, "docker": DOCKER, OCI_DIRECTORY: OCI_DIRECTORY}
_ARCHIVES = frozenset(_FORMATS.values())
_STDIN = "standard input"
_DESCRIPTORS = 1024  # as many as this process may have, most often


def run_archive_command(arguments: list[str]) -> int:
    """Run one of the commands; returns the exit status. Raises BuildError, ImageError, StoreError.

    `arguments` begin with its name.
    """
    command = arguments[0]
    allowed = ALLOWED[command] | {"root"}
    fields, operands = parsed(TABLE, arguments, allowed=allowed, operands=(0, MANY), hint=_HINT)
    if fields.get("help"):
        sys.stdout.write(HELP)
        return 0
    root = str(fields.get("root") or default_root())
    run = {"load": _load, "save": _save, "convert": _convert}[command]
    work = run(fields, operands)
    from buildkit.processes import stop_on_signals

    stop_on_signals()
    store = Store(root)
    try:
        with disk_errors():
            work(store)
    except Cancelled:
        _sweep(store)
        raise
    return 0


def _sweep(store: Store) -> None:
    """Remove what was being made, wherever the signal came; this process does nothing else."""
    from runtime.store.workspace import sweep

    os.closerange(3, _DESCRIPTORS)  # what they lock is nobody's any more
    sweep(store)


# --- load


def _load(fields: dict[str, Any], operands: list[str]) -> Callable[[Store], None]:
    if operands:
        raise UsageError(f"pybuild load: unexpected {operands[0]}", hint="-i FILE is the archive")
    path = str(fields.get("input", STDOUT))
    tags = _names(fields)
    if path == STDOUT and os.isatty(0):
        raise UsageError("standard input is a terminal", hint="-i FILE, or < FILE")

    def work(store: Store) -> None:
        from buildkit.holdings import archive_holdings
        from buildkit.loading import load
        from runtime.store.workspace import Workspace

        members = _input(store, path)
        holdings = archive_holdings(members, _warn(fields))
        if tags:
            if len(holdings) > 1:
                raise UsageError(f"{members.name}: holds several images: which one is {tags[0]}?")
            names = dict.fromkeys((*holdings[0].names, *tags))
            holdings = (holdings[0].replace(names=tuple(names)),)
        with Workspace(store) as place:
            load(store, place, holdings)
        _say([line for holding in holdings for line in _loaded(holding)])

    return work


def _loaded(holding: Holding) -> list[str]:
    """What docker says of an image."""
    if not holding.names:
        return [f"Loaded image ID: {_image_id(holding)}"]
    return [f"Loaded image: {name}" for name in holding.names]


def _say(lines: list[str]) -> None:
    left = "".join(f"{line}\n" for line in lines).encode()
    try:
        while left:
            left = left[os.write(1, left) :]
    except BrokenPipeError:
        raise
    except OSError as error:
        raise DiskError(f"standard output: {error.strerror}") from error


def _input(store: Store, path: str) -> Members:
    from runtime.image.members import open_members, read_stream

    room = f"{store.root}/tmp"
    if path != STDOUT and not is_stream(path):
        return open_members(path, room=room)
    if path != STDOUT:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return read_stream(fd, path, room=room)
        finally:
            os.close(fd)
    return read_stream(0, _STDIN, room=room)


def _image_id(holding: Holding) -> str:
    """What docker calls the image: the digest of its configuration, or of its index."""
    if holding.indexes:
        return str(holding.descriptor.digest)
    return str(holding.parts[0].image.manifest.config.digest)


def _warn(fields: dict[str, Any]) -> Callable[[str], None]:
    def warn(text: str) -> None:
        if not fields.get("quiet"):
            complain(f"pybuild: warning: {text}")

    return warn


def _names(fields: dict[str, Any]) -> tuple[str, ...]:
    """The names of -t, each with its tag."""
    from runtime.image.names import is_name, tagged

    names = tuple(fields.get("tags", ()))
    for name in names:
        if not is_name(name):
            hint = "lower case, as [REGISTRY/]NAME[:TAG]"
            raise UsageError(f"-t {name!r}: not an image name", hint=hint)
    return tuple(map(tagged, names))


# --- save


def _save(fields: dict[str, Any], operands: list[str]) -> Callable[[Store], None]:
    if not operands:
        raise UsageError("pybuild save: no image named", hint=_HINT)
    form = str(fields.get("format", HYBRID))
    if form not in _FORMATS:
        raise UsageError(f"--format {form!r}: {', '.join(_FORMATS)}")
    kind, compression = _FORMATS[form], str(fields.get("compression", ""))
    if kind == DOCKER and compression not in ("", "none"):
        raise UsageError("--format docker: layers are as they are: there is nothing to compress")
    output = Output(kind=kind, dest=str(fields.get("output", STDOUT)), compression=compression)
    if output.is_folder and output.dest == STDOUT:
        raise UsageError("--format oci-dir: -o DIRECTORY expected")
    from buildkit.output_check import check_output

    check_output(output, ())

    def work(store: Store) -> None:
        # In whatever order they were named, it is the same archive.
        found: dict[str, Holding] = {}
        for name in operands:
            holding = _held(store, name)
            digest = str(holding.descriptor.digest)
            names = found[digest].names if digest in found else ()
            found[digest] = holding.replace(names=tuple(sorted({*names, *holding.names})))
        holdings = sorted(
            found.values(), key=lambda holding: (holding.names, holding.descriptor.digest)
        )
        _write(store, tuple(holdings), output)

    return work


def _held(store: Store, word: str) -> Holding:
    """What a name stands for; or an id, and then without a name, as docker has it."""
    from buildkit.holdings import named_holding, stored_holding
    from buildkit.known_images import find_known

    if os.path.exists(store.image_name(word)):
        return named_holding(store, word)
    return stored_holding(store, find_known(store, word).descriptor, word)


# --- convert


def _convert(fields: dict[str, Any], operands: list[str]) -> Callable[[Store], None]:
    if len(operands) != 2:
        raise UsageError("pybuild convert: SOURCE and what to write expected", hint=_HINT)
    source, word = operands
    output = read_output(word, further=True)
    names, platform = _names(fields), platform_of(fields)
    from buildkit.output_check import check_output

    check_output(output, ())

    def work(store: Store) -> None:
        from buildkit.converting import one_holding, source_holdings

        if output.is_folder and output.kind != OCI_DIRECTORY:
            _become_root()
        holdings = source_holdings(store, source, platform, _warn(fields))
        if names:
            holdings = (one_holding(holdings, source).replace(names=names),)
        if output.kind in _ARCHIVES:
            _write(store, holdings, output)
        else:
            _write_root(store, one_holding(holdings, source), output)

    return work


def _become_root() -> None:
    """Be who may give files away: without root in a user namespace."""
    from runtime.errors import ContainerError
    from runtime.sandbox.userns import become_root

    try:
        become_root()
    except ContainerError as error:
        raise BuildError(error.message, hint=error.hint) from error


def _write(store: Store, holdings: tuple[Holding, ...], output: Output) -> None:
    from buildkit.converting import shaped_holdings
    from buildkit.saving import write_holdings

    write_holdings(store, shaped_holdings(store, holdings, output), output)


def _write_root(store: Store, holding: Holding, output: Output) -> None:
    from buildkit.cache import Layer
    from buildkit.converting import for_one_platform, in_store
    from buildkit.root_output import write_root

    [held] = in_store(store, (for_one_platform(holding),))
    layers = tuple(
        Layer(descriptor=layer.descriptor, diff_id=layer.diff_id)
        for layer in held.parts[0].image.layers
    )
    write_root(store, layers, output)
