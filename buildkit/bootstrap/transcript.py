"""What dnf said: faults that its exit status hides, and which kind of failure it was.

dnf 4 ends with status 0 when a %post scriptlet fails or an owner is unknown; only its output
tells.
"""

from __future__ import annotations

import re

from buildkit.errors import BuildError, NetworkError

_SCRIPTLET_DNF = re.compile(
    r"^Error in (?P<kind>\S+) scriptlet in rpm package (?P<name>\S+)", re.M
)
_SCRIPTLET_RPM = re.compile(
    r"^(?:warning|error): %(?P<kind>\w+)\((?P<name>[^)]+)\) scriptlet failed, (?P<how>.*)$", re.M
)
_OWNER = re.compile(
    r"^warning: (?P<what>user|group) (?P<name>\S+) does not exist - using root", re.M
)
_NETWORK = (
    "Curl error",
    "Cannot download",
    "Failed to download metadata",
    "Cannot prepare internal mirrorlist",
    "Status code:",
    "All mirrors were tried",
)
# These come with "Cannot download" too, but no network would mend them.
_NOT_NETWORK = ("checksum doesn't match", "GPG signature verification error")
_EXPLAINED = (
    ("GPG check FAILED", "a package is not signed by a key that --key or key= gives"),
    ("Unable to find a match", None),
    ("nothing provides", "a package that it needs is in none of the repositories"),
    ("incorrect checksum", "the repository changed after its metadata was made, or is damaged"),
    ("checksum doesn't match", "the repository's metadata is damaged"),
    ("No space left on device", "the disk with the store is full"),
)


def failed_scriptlets(output: str) -> tuple[str, ...]:
    """Scriptlets that failed, as sentences; each once."""
    found: dict[str, str] = {}
    for match in _SCRIPTLET_RPM.finditer(output):
        found[match["name"]] = f"the %{match['kind']} scriptlet of {match['name']}: {match['how']}"
    for match in _SCRIPTLET_DNF.finditer(output):
        name = match["name"]
        if not any(known.startswith(name) or name.startswith(known) for known in found):
            found[name] = f"the {match['kind']} scriptlet of {name} failed"
    return tuple(found.values())


def unknown_owners(output: str) -> tuple[str, ...]:
    """Owners of packaged files that the system does not have; root owns those files now."""
    return tuple(sorted({f"{m['what']} {m['name']}" for m in _OWNER.finditer(output)}))


def failure(output: str, status: int) -> BuildError:
    """The error for a dnf that ended with another status than 0."""
    scriptlets = failed_scriptlets(output)
    hint = next((hint for text, hint in _EXPLAINED if text in output), None)
    if scriptlets:
        message = "; ".join(scriptlets)
    else:
        errors = [
            line.removeprefix("Error:").strip(" -")
            for line in output.splitlines()
            if line.startswith(("Error: ", " Problem"))
        ]
        message = "; ".join(filter(None, errors)) or f"dnf ended with status {status}"
    network = any(text in output for text in _NETWORK)
    if network and not any(text in output for text in _NOT_NETWORK):
        return NetworkError(message, hint=hint)
    return BuildError(message, hint=hint)
