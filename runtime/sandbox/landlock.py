"""Landlock rules (landlock(7)): what the container's process may still reach of what it can see.

They come on top of everything else, by `--landlock` or the annotation `org.pybuild.landlock`. A
rule is one of those below; a text holds several, separated by commas or newlines (so there is no
way to write a path with a comma). Blanks around a rule do not count.

  ro:PATH                read the file, or list and read everything below the directory
  rx:PATH                the same, and execute
  rw:PATH                read, write, make, rename and remove, and ioctl(2) on devices
  rwx:PATH               all of it
  connect:PORT           connect to this TCP port, on whatever host
  bind:PORT              listen on this TCP port; 0 is one that the kernel chooses
  tcp:none               neither connect nor bind by TCP
  scope:signal           no signals to processes that are not restricted alike
  scope:abstract-unix    no connections to their abstract Unix sockets

A rule of a kind forbids what no rule of that kind allows: one path rule, and all other paths can
neither be read, written nor executed (they can be seen: stat(2) is always allowed); one rule for
TCP, and all other ports are closed, for bind and connect alike. The rules of one path add up, with
those of the directories above it. A path is resolved inside the container's root, once: what is
allowed is the file or directory that was there when the container started.

An executable's own file and its ELF loader need rx; its libraries are only read. Not touched: what
is open already (standard input, the terminal), UDP, Unix sockets with a name, and ioctl(2) on
devices before Landlock's ABI 5 (Linux 6.10). A restricted process can no longer mount.
"""

from __future__ import annotations

import errno
import os

from runtime.errors import ContainerError, UsageError
from runtime.record import Record
from runtime.sandbox.rootpath import open_in_root
from runtime.sandbox.syscalls import (
    landlock_add_rule,
    landlock_create_ruleset,
    landlock_restrict_self,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# include/uapi/linux/landlock.h: LANDLOCK_ACCESS_FS_…
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_MAKE_AND_REMOVE = 0x1FF0  # REMOVE_DIR (4) to MAKE_SYM (12)
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
_READ = _READ_FILE | _READ_DIR
_WRITE = _WRITE_FILE | _MAKE_AND_REMOVE | _REFER | _TRUNCATE | _IOCTL_DEV
_ACCESS = {
    "ro": _READ,
    "rx": _READ | _EXECUTE,
    "rw": _READ | _WRITE,
    "rwx": _READ | _WRITE | _EXECUTE,
}
_TCP = {"bind": 1 << 0, "connect": 1 << 1}  # LANDLOCK_ACCESS_NET_…
_SCOPES = {"abstract-unix": 1 << 0, "signal": 1 << 1}  # LANDLOCK_SCOPE_…
_KINDS = "ro, rx, rw, rwx, connect, bind, tcp, scope"

_CREATE_RULESET_VERSION = 1
_RULE_PATH_BENEATH, _RULE_NET_PORT = 1, 2
# The ABI that a rule needs, and the kernel that brought it. Before its third version, Landlock
# could not refuse truncate(2): no path was safe from being emptied.
_NEEDS = {"path": (3, "6.2"), "tcp": (4, "6.7"), "scope": (6, "6.12")}


class Rule(Record):
    """One rule; `text` is as the user wrote it."""

    text: str
    kind: str  # "path", "tcp" or "scope": the rules of one kind forbid what none of them allows
    access: int  # what is allowed; of "scope", what is forbidden
    path: str = ""
    port: int | None = None


class Ruleset(Record):
    """All rules of a container; `prepare` makes it a ruleset of the kernel."""

    rules: tuple[Rule, ...]


def parse_rules(texts: Iterable[str]) -> Ruleset:
    """The rules of some texts, each with one rule or more; the form is in the module's docstring.

    Raises UsageError, which names the rule that is wrong.
    """
    rules: list[Rule] = []
    for text in texts:
        written = [part.strip() for part in text.replace("\n", ",").split(",")]
        found = [_parse(part) for part in written if part]
        if not found:
            raise UsageError(f"landlock: no rule in {text!r}", hint=f"rules begin with {_KINDS}")
        rules += found
    return Ruleset(rules=tuple(rules))


def abi_version() -> int:
    """The version of Landlock's ABI that the kernel has; 0 if it has none, or none enabled."""
    try:
        return landlock_create_ruleset(None, 0, _CREATE_RULESET_VERSION)
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EOPNOTSUPP):
            return 0
        raise


def prepare(ruleset: Ruleset, root_fd: int) -> int:
    """Return a descriptor for `restrict`; the paths are those inside `root_fd`.

    Raises ContainerError, which names the rule, for a path that is not there and for a kernel that
    is too old. Needs no rights.
    """
    abi = abi_version()
    for rule in ruleset.rules:
        _check_abi(rule, abi)
    kinds = {rule.kind for rule in ruleset.rules}
    handled = _READ | _WRITE | _EXECUTE
    if abi < 5:
        handled &= ~_IOCTL_DEV
    scoped = sum({rule.access for rule in ruleset.rules if rule.kind == "scope"})
    attributes = _words(  # struct landlock_ruleset_attr
        handled if "path" in kinds else 0, sum(_TCP.values()) if "tcp" in kinds else 0, scoped
    )
    ruleset_fd = landlock_create_ruleset(attributes, len(attributes), 0)
    try:
        for rule in ruleset.rules:
            if rule.kind == "path":
                _allow_path(ruleset_fd, rule, handled, root_fd)
            elif rule.port is not None:
                port = _words(rule.access, rule.port)  # struct landlock_net_port_attr
                landlock_add_rule(ruleset_fd, _RULE_NET_PORT, port)
    except BaseException:
        os.close(ruleset_fd)
        raise
    return ruleset_fd


def restrict(ruleset_fd: int) -> None:
    """Restrict the calling process for good, as the last thing before its exec; closes the fd.

    The process must have no_new_privs, or CAP_SYS_ADMIN. The exec of a memfd stays possible.
    """
    landlock_restrict_self(ruleset_fd)
    os.close(ruleset_fd)


def _parse(text: str) -> Rule:
    kind, colon, value = text.partition(":")
    if colon and kind in _ACCESS:
        if not value.startswith("/"):
            raise UsageError(f"landlock rule {text}: {value!r} is not an absolute path")
        return Rule(text=text, kind="path", access=_ACCESS[kind], path=value)
    if colon and kind in _TCP:
        return Rule(text=text, kind="tcp", access=_TCP[kind], port=_port(text, kind, value))
    if text == "tcp:none":
        return Rule(text=text, kind="tcp", access=0)
    if colon and kind == "scope":
        if value not in _SCOPES:
            raise UsageError(
                f"landlock rule {text}: unknown scope {value!r}, not one of {', '.join(_SCOPES)}"
            )
        return Rule(text=text, kind="scope", access=_SCOPES[value])
    raise UsageError(
        f"landlock rule {text}: unknown, not one of {_KINDS}",
        hint="such as ro:/usr, rw:/data, connect:443, tcp:none or scope:signal",
    )


def _port(text: str, kind: str, value: str) -> int:
    least = 0 if kind == "bind" else 1
    if value.isascii() and value.isdigit() and len(value) <= 5 and least <= int(value) <= 65535:
        return int(value)
    raise UsageError(f"landlock rule {text}: {value!r} is not a port, {least} to 65535")


def _check_abi(rule: Rule, abi: int) -> None:
    needed, kernel = _NEEDS[rule.kind]
    if not abi:
        raise ContainerError(
            f"landlock rule {rule.text}: this kernel has no Landlock, or it is not enabled",
            hint="it is enabled by the boot parameter lsm=landlock,…",
        )
    if abi < needed:
        raise ContainerError(
            f"landlock rule {rule.text}: needs Landlock's ABI {needed} (Linux {kernel}), "
            f"this kernel has {abi}"
        )


def _allow_path(ruleset_fd: int, rule: Rule, handled: int, root_fd: int) -> None:
    try:
        fd = open_in_root(root_fd, rule.path)
    except OSError as error:
        raise ContainerError(f"landlock rule {rule.text}: {error.strerror}") from error
    try:
        access = rule.access & handled
        if os.fstat(fd).st_mode & 0o170000 != 0o040000:
            access &= _OF_FILES  # the kernel refuses those of directories
        # struct landlock_path_beneath_attr, which is packed
        attributes = access.to_bytes(8, "little") + fd.to_bytes(4, "little")
        landlock_add_rule(ruleset_fd, _RULE_PATH_BENEATH, attributes)
    except OSError as error:
        message = f"landlock rule {rule.text}: {os.strerror(error.errno or 0)}"
        raise ContainerError(message) from error
    finally:
        os.close(fd)


def _words(*words: int) -> bytes:
    return b"".join(word.to_bytes(8, "little") for word in words)
