"""What apt, dpkg and mmdebstrap said: why they failed, and whom it is about."""

from __future__ import annotations

import re

from buildkit.bootstrap.full_disk import disk_error
from buildkit.bootstrap.transcript import Failure as Failure
from buildkit.errors import BuildError, NetworkError
from runtime.record import Record

_URL = r"(?P<url>[a-z][a-z0-9+.-]*:\S+)"


class _Fault(Record):
    """A line that tells, and what to say of it; the first that is found is said."""

    line: re.Pattern[str]
    message: str
    hint: str | None = None
    network: bool = False


def _fault(line: str, message: str, hint: str | None = None, *, network: bool = False) -> _Fault:
    return _Fault(line=re.compile(line, re.MULTILINE), message=message, hint=hint, network=network)


_KEY = "--key=FILE or key=FILE of its --repo gives its key"
_FAULTS = (
    _fault(
        rf"^[EW]: (?:An error occurred .*)?GPG error: {_URL} .*NO_PUBKEY (?P<key>\w+)",
        "repository {repo!r} is signed with another key than the given ones: {key}",
        _KEY,
    ),
    _fault(
        rf"^[EW]: .*GPG error: {_URL} .*EXPKEYSIG (?P<key>\w+)",
        "the key that repository {repo!r} is signed with has expired: {key}",
        _KEY,
    ),
    _fault(
        rf"^[EW]: .*GPG error: {_URL} .*(?:BADSIG|invalid signature|isn't valid)",
        "the metadata of repository {repo!r} is damaged: its signature does not fit its content",
    ),
    _fault(
        rf"^E: Release file for {_URL} is expired \((?P<why>[^)]*)\)",
        "the metadata of repository {repo!r} is too old: {why}",
        "--setopt=Acquire::Check-Valid-Until=false takes that of an archive all the same",
    ),
    _fault(
        rf"^E: Release file for {_URL} is not valid yet \((?P<why>[^)]*)\)",
        "the metadata of repository {repo!r} is of the future: {why}",
        "is this machine's clock right?",
    ),
    _fault(
        rf"^[EW]: The repository '{_URL} [^']*' is not signed",
        "repository {repo!r} is not signed",
        "--nogpgcheck would accept it",
    ),
    _fault(
        rf"^E: The repository '{_URL} [^']*' does not have a Release file",
        "repository {repo!r} has no such suite",
    ),
    _fault(
        rf"^E: Failed to fetch {_URL}\s+(?:Hash Sum mismatch|File has unexpected size)",
        "the metadata of repository {repo!r} is damaged: its Release file has another digest",
        "the repository changed meanwhile, or is damaged",
    ),
    _fault(r"^E: Unable to locate package (?P<word>\S+)", "no package {word} in the repositories"),
    _fault(
        r"^E: Couldn't find any package by (?:glob|regex|task) '(?P<word>[^']+)'",
        "no package {word} in the repositories",
    ),
    _fault(
        r"^E: (?:Version|Release) '(?P<version>[^']+)' for '(?P<word>[^']+)' was not found",
        "no package {word} of {version} in the repositories",
    ),
    _fault(
        r"^E: Package '(?P<word>[^']+)' has no installation candidate",
        "package {word} cannot be installed: the repositories do not have it, or an exclusion "
        "leaves it out",
    ),
    _fault(
        r"^E: (?:Failed to fetch|Unable to fetch) " + _URL + r"\s+(?P<why>.*)$",
        "repository {repo!r}: {why}",
        network=True,
    ),
    _fault(
        r"^dpkg: error processing (?:package|archive) (?P<word>\S+) \([^)]*\):\n (?P<why>.*)$",
        "package {word}: {why}",
    ),
    _fault(r"^dpkg: error: (?P<why>.*)$", "dpkg: {why}"),
)
_UNMET = re.compile(
    r"^ (?P<word>\S+) : (?P<why>(?:Pre)?Depends: .*|Conflicts: .*|Breaks: .*)$", re.M
)
_REPEATED = re.compile(r"setup failed: E: (?:env|apt-get) .* failed$|mmdebstrap failed to run$")
_ERROR = re.compile(r"^E: (.*)$", re.M)


def failure(output: str, status: int, urls: dict[str, str]) -> Failure:
    """What an apt-get or mmdebstrap that ended with another status than 0 failed for.

    `urls` are the ids of repositories by their URLs.
    """
    if full := disk_error(output):
        return Failure(error=full, words=frozenset(), repository=None)
    for fault in _FAULTS:
        match = fault.line.search(output)
        if match:
            groups = match.groupdict()
            repository = repository_of(groups.get("url", ""), urls)
            message = fault.message.format(**groups, repo=repository)
            kind = NetworkError if fault.network else BuildError
            return Failure(
                error=kind(message, hint=fault.hint),
                words=frozenset({groups["word"]} if groups.get("word") else ()),
                repository=repository,
            )
    unmet = {match["word"]: match["why"] for match in _UNMET.finditer(output)}
    if unmet:
        reasons = "; ".join(f"package {word}: {why}" for word, why in unmet.items())
        hint = "a package that is needed is in no repository, or an exclusion leaves it out"
        return Failure(
            error=BuildError(reasons, hint=hint), words=frozenset(unmet), repository=None
        )
    # Where mmdebstrap failed for what another program said, it repeats that one's arguments.
    found = [text for text in _ERROR.findall(output) if not _REPEATED.match(text)]
    said = "; ".join(dict.fromkeys(found))
    last = output.strip().splitlines()[-1:]
    message = said or (last[0] if last else f"apt ended with status {status}")
    return Failure(error=BuildError(message), words=frozenset(), repository=None)


def repository_of(url: str, urls: dict[str, str]) -> str:
    """The id of the repository that a URL is of; empty for none."""
    near = [known for known in urls if f"{url}/".startswith(f"{known}/")]
    return urls[max(near, key=len)] if near else ""
