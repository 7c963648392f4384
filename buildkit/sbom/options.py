"""`--sbom`: which documents a build writes, and where to. Loads nothing of what makes them."""

from __future__ import annotations

from buildkit.errors import UsageError
from buildkit.outputs import STDOUT, Output, is_stream
from runtime.record import Record

SPDX, CYCLONEDX = "spdx", "cyclonedx"
SUFFIXES = {SPDX: ".spdx.json", CYCLONEDX: ".cdx.json"}
_HINT = "--sbom=spdx|cyclonedx[,dest=FILE], or true for an attestation"
# Go's strconv.ParseBool, as docker reads a word that switches something.
SWITCHES = dict.fromkeys(("1", "t", "T", "true", "True", "TRUE"), True) | dict.fromkeys(
    ("0", "f", "F", "false", "False", "FALSE"), False
)


class SbomFile(Record):
    """A document that a build writes."""

    format: str  # SPDX or CYCLONEDX
    dest: str
    output: int  # number of the output whose image it is of; -1: of the one in the store
    platform: int = 0  # number of the platform that it is for


def check_format(word: str, option: str) -> str:
    """The name of a format; raises UsageError."""
    if word not in SUFFIXES:
        raise UsageError(f"{option} {word!r}: spdx or cyclonedx")
    return word


def read_sbom_files(
    words: tuple[str, ...], outputs: tuple[Output, ...], platforms: tuple[str, ...]
) -> tuple[SbomFile, ...]:
    """The files that a command line asks for; raises UsageError.

    Without `dest` there is one beside each output that has a path, for each platform.
    """
    # Switches are about attestations.
    words = tuple(word for word in words if word not in SWITCHES)
    found = [file for word in words for file in _read(word, outputs, platforms)]
    taken = [output.dest for output in outputs]
    for file in found:
        if file.dest in taken:
            raise UsageError(f"--sbom: {file.dest} is written twice")
        taken.append(file.dest)
    return tuple(found)


def _read(
    word: str, outputs: tuple[Output, ...], platforms: tuple[str, ...]
) -> tuple[SbomFile, ...]:
    name, *fields = word.split(",")
    kind = check_format(name, "--sbom")
    dest = ""
    for field in fields:
        key, _, dest = field.partition("=")
        if key != "dest" or not dest or dest == STDOUT or len(fields) > 1:
            raise UsageError(f"--sbom {word!r}: {field!r} is not known", hint=_HINT)
    if dest:
        if len(platforms) > 1:
            hint = "without dest= there is a document beside the image for each platform"
            raise UsageError(f"--sbom {word!r}: one file for several platforms", hint=hint)
        return (SbomFile(format=kind, dest=dest, output=0 if outputs else -1),)
    files = tuple(
        SbomFile(format=kind, dest=f"{place}{SUFFIXES[kind]}", output=number, platform=index)
        for number, output in enumerate(outputs)
        if output.dest != STDOUT and not is_stream(output.dest)
        for index, place in enumerate(_places(output.dest.rstrip("/"), platforms))
    )
    if not files:
        raise UsageError(f"--sbom {word!r}: no image is written to a file", hint=_HINT)
    return files


def _places(dest: str, platforms: tuple[str, ...]) -> list[str]:
    if len(platforms) < 2:
        return [dest]
    return [f"{dest}.{platform.replace('/', '_')}" for platform in platforms]
