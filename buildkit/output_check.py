"""Whether what is to be written has a place to go to."""

from __future__ import annotations

import os

from buildkit.compressing import read_compression
from buildkit.errors import DiskError, UsageError
from buildkit.outputs import DOCKER, LOCAL, OCI_DIRECTORY, STDOUT, TAR, Output, is_stream


def check_output(output: Output, platforms: tuple[str, ...]) -> None:
    """Find out before the work, not after it, that its result has no place to go to.

    Raises UsageError, DiskError.
    """
    if len(platforms) > 1 and output.kind in (DOCKER, TAR):
        hint = "type=oci holds an image for several, type=local and type=rootfs their files"
        raise UsageError(f"-o type={output.kind} is for one platform", hint=hint)
    read_compression(output.compression or "none", "-o compression")
    path = output.dest
    if path == STDOUT:
        if os.isatty(1):
            raise UsageError("-o -: standard output is a terminal", hint="| or > FILE")
        return
    if is_stream(path):
        if not os.access(path, os.W_OK):
            raise DiskError(f"{path}: cannot be written to")
        return
    directory = os.path.dirname(os.path.abspath(path))
    if output.kind == LOCAL and os.path.isdir(path):
        directory = path
    if not os.path.isdir(directory):
        raise DiskError(f"{path}: no such directory")
    if os.path.isdir(path) and not output.is_folder:
        hint = "-o type=local,dest=DIRECTORY writes the files of the root filesystem"
        raise DiskError(f"{path}: is a directory", hint=hint)
    if os.path.lexists(path) and output.is_folder and not os.path.isdir(path):
        raise DiskError(f"{path}: not a directory")
    if output.kind == OCI_DIRECTORY and os.path.isdir(path) and os.listdir(path):
        raise DiskError(f"{path}: not empty")
    if not os.access(directory, os.W_OK):
        raise DiskError(f"{path}: the directory cannot be written to")
