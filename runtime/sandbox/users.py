"""Who a container's process is: `name[:group]` looked up in the image's own passwd and group.

The files are read by descriptor and parsed here, never through NSS, which would load libraries
that the image chose.
"""

from __future__ import annotations

from runtime.errors import ContainerError
from runtime.oci.spec import User
from runtime.record import Record
from runtime.sandbox.rootpath import read_in_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_MAX_FILE = 10 << 20
MAX_ID = (1 << 32) - 2  # -1 means "leave as it is" to setresuid(2)


class Account(Record):
    """A user to become, and the home directory that HOME names."""

    user: User
    home: str = "/"


class _Passwd(Record):
    name: str
    uid: int
    gid: int
    home: str


def look_up(root_fd: int, text: str) -> Account:
    """Resolve `user[:group]` (image-spec config.md "User") inside a root.

    Digits are always a number, also where a passwd entry bears them as its name
    (CVE-2024-40635 and its kin). Without a group, a known user gets the groups that the group
    file lists. Raises ContainerError for a name that is not there.
    """
    name, colon, group = text.partition(":")
    if colon and not group:
        raise ContainerError(f"user {text!r}: no group after the colon")
    entry = _passwd_entry(root_fd, name or "0")
    if group:
        gid = _group_id(root_fd, group)
        return Account(user=User(uid=entry.uid, gid=gid), home=entry.home)
    groups = _supplementary(root_fd, entry.name) if entry.name else ()
    user = User(uid=entry.uid, gid=entry.gid, additional_gids=groups)
    return Account(user=user, home=entry.home)


def home_of(root_fd: int, uid: int) -> str:
    """The home directory of a user id in the root's passwd, or "/"."""
    for fields in _lines(root_fd, "/etc/passwd", 7):
        if _is_number(fields[2]) and int(fields[2]) == uid:
            return fields[5] or "/"
    return "/"


def _passwd_entry(root_fd: int, name: str) -> _Passwd:
    number = _number(name, "user")
    for fields in _lines(root_fd, "/etc/passwd", 7):
        if not (_is_number(fields[2]) and _is_number(fields[3])):
            continue
        if (number is None and fields[0] == name) or number == int(fields[2]):
            uid, gid = int(fields[2]), int(fields[3])
            if max(uid, gid) > MAX_ID:
                raise ContainerError(f"user {name!r}: its ids in /etc/passwd are out of range")
            return _Passwd(name=fields[0], uid=uid, gid=gid, home=fields[5] or "/")
    if number is None:
        raise ContainerError(f"user {name!r}: not in the image's /etc/passwd")
    return _Passwd(name="", uid=number, gid=0, home="/")


def _group_id(root_fd: int, group: str) -> int:
    number = _number(group, "group")
    if number is not None:
        return number
    for fields in _lines(root_fd, "/etc/group", 4):
        if fields[0] == group and _is_number(fields[2]) and int(fields[2]) <= MAX_ID:
            return int(fields[2])
    raise ContainerError(f"group {group!r}: not in the image's /etc/group")


def _supplementary(root_fd: int, name: str) -> tuple[int, ...]:
    return tuple(
        sorted(
            {
                int(fields[2])
                for fields in _lines(root_fd, "/etc/group", 4)
                if name in fields[3].split(",")
                and _is_number(fields[2])
                and int(fields[2]) <= MAX_ID
            }
        )
    )


def _number(text: str, what: str) -> int | None:
    if not (text.isascii() and text.isdigit()):
        return None
    number = int(text) if _is_number(text) else MAX_ID + 1
    if number > MAX_ID:
        raise ContainerError(f"{what} {text!r}: ids end at {MAX_ID}")
    return number


def _is_number(text: str) -> bool:
    # int() takes digits of every script, and raises for thousands of them.
    return text.isascii() and text.isdigit() and len(text) <= 10


def _lines(root_fd: int, path: str, fields: int) -> Iterator[list[str]]:
    try:
        content = read_in_root(root_fd, path, _MAX_FILE)
    except OSError as error:
        raise ContainerError(f"{path} of the image: {error.strerror}") from error
    for line in (content or b"").decode("utf-8", "surrogateescape").split("\n"):
        columns = line.split(":")
        if len(columns) >= fields:
            yield columns
