"""`--secret` as podman's users write it: a reference, by which nobody learns what it says."""

from __future__ import annotations

from runtime.engine.mount_words import destination_of, is_volume_name
from runtime.errors import UsageError
from runtime.record import Record
from runtime.sandbox.users import MAX_ID

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Any

FOLDER = "/run/secrets"
MOUNT, ENV = "mount", "env"
_MODE = 0o444


class SecretUse(Record):
    """A secret in a container: a file, or a variable."""

    name: str
    type: str = MOUNT
    target: str = ""  # an absolute path; or the variable's name
    uid: int = 0
    gid: int = 0
    mode: int = _MODE

    def to_json(self) -> dict[str, Any]:
        """What a container's record has of it, by podman's names."""
        found: dict[str, Any] = {"Name": self.name, "Type": self.type, "Target": self.target}
        if self.type == MOUNT:
            found |= {"UID": self.uid, "GID": self.gid, "Mode": self.mode}
        return found

    @classmethod
    def from_json(cls, table: dict[str, Any]) -> SecretUse:
        """Of a container's record."""
        return cls(**{name.lower(): value for name, value in table.items()})


def is_secret_name(text: str) -> bool:
    """Whether a text can be the name of a secret."""
    return is_volume_name(text)


def parse_secret(text: str) -> SecretUse:
    """`NAME[,type=mount|env][,target=...][,uid=N][,gid=N][,mode=OCTAL]`; raises UsageError."""
    where = f"--secret {text!r}"
    first, *words = text.split(",")
    name = first.removeprefix("source=").removeprefix("src=")
    if not is_secret_name(name):
        raise UsageError(f"{where}: {name!r} is no name of a secret")
    found: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or key not in ("type", "target", "uid", "gid", "mode") or key in found:
            raise UsageError(
                f"{where}: {word!r}: type=mount|env, target=, uid=, gid= or mode= expected, once"
            )
        found[key] = _number(value, where, key) if key in ("uid", "gid", "mode") else value
    if found.get("type", MOUNT) not in (MOUNT, ENV):
        raise UsageError(f"{where}: type {found['type']!r}: mount or env expected")
    target = found.pop("target", name)
    if found.get("type") == ENV:
        if found.keys() & {"uid", "gid", "mode"}:
            raise UsageError(f"{where}: a variable has no owner and no mode")
        if not target or "=" in target:
            raise UsageError(f"{where}: target {target!r}: the name of a variable expected")
    else:
        target = destination_of(target if target[:1] == "/" else f"{FOLDER}/{target}", where)
    return SecretUse(name=name, target=target, **found)


def _number(text: str, where: str, key: str) -> int:
    base, most = (8, 0o7777) if key == "mode" else (10, MAX_ID)
    try:
        found = int(text, base) if text.isascii() and text.isdigit() else -1
    except ValueError:
        found = -1
    if not 0 <= found <= most:
        kind = "an octal" if base == 8 else "a"
        raise UsageError(f"{where}: {key} {text!r}: {kind} number expected")
    return found


def without_clashes(
    uses: tuple[SecretUse, ...], mounted: Collection[str] = ()
) -> tuple[SecretUse, ...]:
    """The secrets of a container; raises UsageError for two in one place, or where a mount is."""
    seen = set()
    for use in uses:
        place = FOLDER if use.target.startswith(f"{FOLDER}/") else use.target
        if use.type == MOUNT and place in mounted:
            raise UsageError(f"--secret {use.name}: {place} is a mount that was asked for as well")
        if (use.type, use.target) in seen:
            raise UsageError(f"--secret: two secrets at {use.target}")
        seen.add((use.type, use.target))
    return uses
