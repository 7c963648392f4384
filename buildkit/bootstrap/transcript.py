"""What dnf and rpm said: faults that its exit status hides, and which kind of failure it was.

dnf 4 ends with status 0 when a %post scriptlet fails or an owner is unknown; only its output
tells. Its last line is often the least telling one, so the lines before it are searched for what
a user needs to know: which package, scriptlet, key or repository.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from buildkit.bootstrap.full_disk import disk_error
from buildkit.bootstrap.secrets import Secrets
from buildkit.errors import BuildError, NetworkError
from runtime.record import Record

_SCRIPTLET_DNF = re.compile(
    r"^Error in (?P<kind>\S+) scriptlet in rpm package (?P<name>\S+)", re.M
)
_SCRIPTLET_RPM = re.compile(
    r"^(?:warning|error): %(?P<kind>\w+)\((?P<name>[^)]+)\) scriptlet failed, (?P<how>.*)$", re.M
)
# Whatever a Lua scriptlet fails with but in %pre and %pretrans, rpm's status is 0.
_SCRIPTLET_LUA = re.compile(
    r'^error: lua script failed: \[string "%(?P<kind>\w+)\((?P<name>[^)]+)\)"\]:(?P<how>.*)$', re.M
)
_OWNER = re.compile(
    r"^warning: (?P<what>user|group) (?P<name>\S+) does not exist - using root", re.M
)
_NETWORK = (
    "Curl error",
    "Cannot download",
    "Cannot prepare internal mirrorlist",
    "Status code:",
)
# These come with "Cannot download" too, but no network would mend them.
_NOT_NETWORK = ("checksum doesn't match", "GPG signature verification error")


_OUTPUT_KEPT = 1 << 22  # bytes of output that are searched for faults
# What Debian's rpm says to everybody.
_NOISE = re.compile(rb"^rpm: (?:RPM should not be used|However assuming you know).*\n", re.M)


class Log:
    """Output: handed on, and kept to be searched for faults."""

    def __init__(self, output: Callable[[bytes], None], secrets: Secrets | None = None) -> None:
        """What `secrets` hide is hidden in it."""
        self._output = output
        self._said = bytearray()
        self._secrets = secrets if secrets is not None and secrets.words else None
        self._rest = b""  # of a line that is not whole yet, where there are secrets

    def listen(self, chunk: bytes) -> None:
        """Take in a piece of output."""
        self._said.extend(chunk[: _OUTPUT_KEPT - len(self._said)])
        if self._secrets is not None:
            lines, newline, self._rest = (self._rest + chunk).rpartition(b"\n")
            chunk = self._hidden(lines + newline).encode()
        self._output(_NOISE.sub(b"", chunk))

    @property
    def text(self) -> str:
        """All of it so far."""
        return self._hidden(bytes(self._said))

    def _hidden(self, text: bytes) -> str:
        decoded = text.decode("utf-8", "replace")
        return decoded if self._secrets is None else self._secrets.hidden(decoded)


class _Fault(Record):
    """A line that tells, and what to say of it; groups `package` and `repo` say of whom."""

    line: re.Pattern[str]
    message: str
    hint: str | None = None


def _fault(line: str, message: str, hint: str | None = None) -> _Fault:
    return _Fault(line=re.compile(line, re.MULTILINE), message=message, hint=hint)


_REPLACED = "the repository changed after its metadata was made, or is damaged"
_FAULTS = (
    _fault(
        r"^Package (?P<package>\S+?)(?:\.rpm)? is not signed",
        "package {package} is not signed",
        "--nogpgcheck would accept it",
    ),
    _fault(
        r"Failing package is: (?P<package>\S+)",
        "package {package} is signed with another key than the given ones",
        "--key=FILE or key=FILE of its --repo gives its key",
    ),
    _fault(
        r"^Public key for (?P<package>\S+?)(?:\.rpm)? is not installed",
        "the key of package {package} is not among the given ones",
        "--key=FILE or key=FILE of its --repo gives its key",
    ),
    _fault(
        r"^Problem opening package (?P<package>\S+?)(?:\.rpm)?$",
        "package {package} is damaged: its signature does not fit its content",
    ),
    _fault(
        r'^Package "(?P<package>\S+)" from local repository "(?P<repo>\S+)" has incorrect check',
        "package {package} is not the one that the metadata of repository {repo!r} promises",
        _REPLACED,
    ),
    _fault(
        r"file (?P<path>\S+) (?P<how>(?:from install of|conflicts between).*)$",
        "{path} {how}",
    ),
    _fault(
        r"nothing provides (?P<what>.+) needed by (?P<package>\S+)",
        "package {package} needs {what}, which no repository provides",
    ),
    _fault(
        r"^(?:Error: )?Unable to find a match: (?P<package>.+)$",
        "no package {package} in the repositories",
    ),
    _fault(
        r"^No match for argument: (?P<package>\S+)", "no package {package} in the repositories"
    ),
    _fault(
        r"^Module or Group '(?P<group>[^']+)' is not available",
        "no group @{group} in the repositories",
    ),
    _fault(
        r"repository '(?P<repo>[^']+)'.*\n\s+- Downloading successful, but checksum",
        "the metadata of repository {repo!r} is damaged: repomd.xml has another checksum for it",
        _REPLACED,
    ),
    _fault(
        r"Failed to download metadata for repo '(?P<repo>[^']+)': (?P<why>.*)$",
        "repository {repo!r}: {why}",
    ),
    _fault(
        r"(?P<need>\S+ is needed by (?P<package>\S+))$",
        "{need}",
    ),
    _fault(
        r"unpacking of archive failed on file (?P<path>\S+?)(?:;[0-9a-f]+)?: cpio: chown failed",
        "{path}: its owner is a user or group that cannot be had here",
        "without subordinate ids (subuid(5)) there is one user alone",
    ),
    _fault(
        r"unpacking of archive failed on file (?P<path>\S+?)(?:;[0-9a-f]+)?: cpio: mknod failed",
        "{path}: a device, which only real root can make",
    ),
)


class Failure(Record):
    """Why an installation failed, and whom it is about, so that the place can be shown."""

    error: BuildError
    words: frozenset[str]  # packages and groups as they were asked for
    repository: str | None


def failed_scriptlets(output: str) -> tuple[str, ...]:
    """Scriptlets that failed, as sentences; each once."""
    found: dict[str, str] = {}
    for pattern, how in ((_SCRIPTLET_LUA, "line "), (_SCRIPTLET_RPM, "")):
        for match in pattern.finditer(output):
            kind = {"prein": "pre", "postin": "post"}.get(match["kind"], match["kind"])
            name = match["name"]
            found.setdefault(name, f"the %{kind} scriptlet of {name}: {how}{match['how']}")
    for match in _SCRIPTLET_DNF.finditer(output):
        name = match["name"]
        if not any(known.startswith(name) or name.startswith(known) for known in found):
            found[name] = f"the {match['kind']} scriptlet of {name} failed"
    return tuple(found.values())


def unknown_owners(output: str) -> tuple[str, ...]:
    """Owners of packaged files that the system does not have; root owns those files now."""
    return tuple(sorted({f"{m['what']} {m['name']}" for m in _OWNER.finditer(output)}))


def failure(output: str, status: int) -> Failure:
    """What a dnf or rpm that ended with another status than 0 failed for."""
    if full := disk_error(output):
        return _failure(full)
    scriptlets = failed_scriptlets(output)
    if scriptlets:
        return _failure(BuildError("; ".join(scriptlets)))
    for fault in _FAULTS:
        match = fault.line.search(output)
        if match:
            groups = match.groupdict()
            return _failure(_error(fault.message.format(**groups), fault.hint, output), groups)
    lines = [line[7:] for line in output.splitlines() if line.lower().startswith("error: ")]
    message = "; ".join(line.rstrip(": ") for line in lines)
    message = message or f"the package manager ended with status {status}"
    return _failure(_error(message, None, output))


def _failure(error: BuildError, groups: dict[str, str] | None = None) -> Failure:
    groups = groups or {}
    words = set(groups.get("package", "").split())
    if "group" in groups:
        words.add(f"@{groups['group']}")
    return Failure(error=error, words=frozenset(words), repository=groups.get("repo"))


def _error(message: str, hint: str | None, output: str) -> BuildError:
    network = any(text in output for text in _NETWORK)
    if network and not any(text in output for text in _NOT_NETWORK):
        return NetworkError(message, hint=hint)
    return BuildError(message, hint=hint)
