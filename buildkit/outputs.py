"""`-o`: what is written of an image, and where to."""

from __future__ import annotations

import os
import stat

from buildkit.errors import UsageError
from runtime.record import Record

IMAGE, OCI, DOCKER, TAR, LOCAL, ROOTFS = "image", "oci", "docker", "tar", "local", "rootfs"
HYBRID, OCI_DIRECTORY = "hybrid", "oci-dir"  # of `pybuild save` and `convert`
STDOUT = "-"
_FILES = (OCI, DOCKER, TAR)
_FOLDERS = (LOCAL, ROOTFS)
_ELSEWHERE = ("registry", "image", "cacheonly")
_HINT = "FILE, - or type=oci|docker|tar|local|rootfs,dest=PATH[,compression=…]"


class Output(Record):
    """One thing to write.

    image   an archive that is an OCI layout and a docker archive at once
    oci, docker   an archive that is one of these only
    tar     the root filesystem as a tar
    local   the root filesystem's files, as the caller's own, added to a directory
    rootfs  the root filesystem in a new directory, with its owners
    oci-dir an OCI layout in a new directory (not of a build)
    """

    kind: str
    dest: str  # "-": standard output
    compression: str = ""  # empty: that of the build

    @property
    def is_folder(self) -> bool:
        """Whether a directory is written."""
        return self.kind in (*_FOLDERS, OCI_DIRECTORY)

    @property
    def is_file(self) -> bool:
        """Whether a file is written that can be looked at again."""
        return not self.is_folder and self.dest != STDOUT and not is_stream(self.dest)


def is_stream(path: str) -> bool:
    """Whether a path is written into, and never replaced: a device, a pipe, /dev/stdout."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    if os.path.dirname(os.path.abspath(path)) == "/dev":
        return not stat.S_ISDIR(mode)
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def read_outputs(words: tuple[str, ...], *, named: bool) -> tuple[Output, ...]:
    """The outputs of a command line; raises UsageError.

    Without any it is image.tar, unless the image gets a name.
    """
    outputs = tuple(read_output(word) for word in words)
    if not words and not named:
        outputs = (Output(kind=IMAGE, dest="image.tar"),)
    places = [output.dest for output in outputs]
    for place in places:
        if places.count(place) > 1:
            raise UsageError(f"-o: {place} is written twice")
    return outputs


def outputs_words(outputs: tuple[Output, ...]) -> tuple[tuple[str, str, str], ...]:
    """What identifies outputs, wherever `pybuild` is called."""
    return tuple(
        (o.kind, o.dest if o.dest == STDOUT else os.path.abspath(o.dest), o.compression)
        for o in outputs
    )


def read_output(word: str, *, further: bool = False) -> Output:
    """One output as it is written; raises UsageError. `further` are kinds that no build writes."""
    files = (*_FILES, HYBRID) if further else _FILES
    folders = (*_FOLDERS, OCI_DIRECTORY) if further else _FOLDERS
    if "type=" not in word:
        if not word:
            raise UsageError("-o: no name given", hint=_HINT)
        return Output(kind=IMAGE, dest=word)
    fields: dict[str, str] = {}
    for item in word.split(","):
        key, equals, value = item.partition("=")
        if not equals or key in fields:
            raise UsageError(f"-o {word!r}: KEY=VALUE expected, each once", hint=_HINT)
        fields[key] = value
    kind, dest = fields.pop("type"), fields.pop("dest", "")
    if kind in _ELSEWHERE:
        raise UsageError(f"-o type={kind} is for builds", hint=_HINT)
    kinds = (*files, *folders)
    if kind not in kinds:
        raise UsageError(f"-o type={kind!r}: {', '.join(kinds[:-1])} or {kinds[-1]}")
    compression = fields.pop("compression", "")
    if level := fields.pop("compression-level", ""):
        compression = f"{compression or 'gzip'}:{level}"
    if fields:
        raise UsageError(f"-o {word!r}: {min(fields)!r} is not known", hint=_HINT)
    if compression and kind in (DOCKER, TAR, *_FOLDERS):
        raise UsageError(f"-o {word!r}: there is nothing to compress", hint=_HINT)
    if not dest and kind in files:
        dest = STDOUT  # as with buildx
    if not dest or (dest == STDOUT and kind in folders):
        raise UsageError(f"-o {word!r}: dest=DIRECTORY expected", hint=_HINT)
    kind = IMAGE if kind == HYBRID else kind
    return Output(kind=kind, dest=dest, compression=compression)
