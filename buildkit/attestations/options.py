"""`--attest`, `--provenance`, `--sbom true`: which attestations each image gets (docker buildx).

Loads nothing of what makes them.
"""

from __future__ import annotations

from buildkit.errors import UsageError
from buildkit.sbom.options import SWITCHES
from runtime.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from buildkit.command_line import CommandLine

MIN, MAX = "min", "max"
_PROVENANCE, _SBOM = "provenance", "sbom"
_FIELDS = {_PROVENANCE: {"mode", "builder-id", "version", "disabled"}, _SBOM: {"disabled"}}
_HINT = "type=provenance[,mode=min|max][,builder-id=URI] or type=sbom"


class Attestations(Record):
    """What is attested of each image."""

    sbom: bool = False
    provenance: str = ""  # MIN, MAX; empty: no provenance
    builder: str = ""  # URI of who builds; empty: pybuild's own

    @property
    def any(self) -> bool:
        """Whether there are any."""
        return self.sbom or bool(self.provenance)


def read_attestations(line: CommandLine) -> Attestations:
    """What a command line asks for; raises UsageError."""
    asked = [("--attest", word) for word in line.attests]
    if line.provenance:
        asked.append(("--provenance", _spelled_out(_PROVENANCE, line.provenance)))
    switches = [word for word in line.sboms if word in SWITCHES]
    asked += [("--sbom", _spelled_out(_SBOM, word)) for word in switches[-1:]]
    found: dict[str, dict[str, str]] = {}
    for option, word in asked:
        kind, fields = _read(option, word)
        if kind in found:
            raise UsageError(f"{option} {word!r}: type={kind} is asked for twice")
        found[kind] = fields
    wanted = {kind: fields for kind, fields in found.items() if not _is_off(fields)}
    if wanted and line.format == "docker":
        raise UsageError(
            "docker's format has no place for attestations", hint="--format oci (the default) has"
        )
    provenance = wanted.get(_PROVENANCE)
    return Attestations(
        sbom=_SBOM in wanted,
        provenance="" if provenance is None else provenance.get("mode", MIN),
        builder="" if provenance is None else provenance.get("builder-id", ""),
    )


def _spelled_out(kind: str, word: str) -> str:
    """What --attest would be given."""
    if word in SWITCHES:
        return f"type={kind}" if SWITCHES[word] else f"type={kind},disabled=true"
    return f"type={kind},{word}"


def _read(option: str, word: str) -> tuple[str, dict[str, str]]:
    fields: dict[str, str] = {}
    for field in word.split(","):
        name, equals, value = field.partition("=")
        if not equals or not value or name in fields:
            raise UsageError(f"{option} {word!r}: {field!r} is not known", hint=_HINT)
        fields[name] = value
    kind = fields.pop("type", "")
    if kind not in _FIELDS:
        raise UsageError(f"{option} {word!r}: type is provenance or sbom", hint=_HINT)
    for name in fields:
        if name not in _FIELDS[kind]:
            raise UsageError(f"{option} {word!r}: type={kind} has no {name}", hint=_HINT)
    if fields.get("mode", MIN) not in (MIN, MAX):
        raise UsageError(f"{option} {word!r}: mode is min or max")
    if fields.get("version", "v1") != "v1":
        raise UsageError(f"{option} {word!r}: only version v1 of SLSA's provenance is written")
    if fields.get("disabled", "true") not in SWITCHES:
        raise UsageError(f"{option} {word!r}: disabled is true or false")
    if ":" not in fields.get("builder-id", ":"):
        raise UsageError(f"{option} {word!r}: builder-id is a URI")
    return kind, fields


def _is_off(fields: dict[str, str]) -> bool:
    return SWITCHES[fields.get("disabled", "false")]
