"""`pybuild du|prune|reset|verify-store|cache`: looking after the store."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable

from buildkit.errors import BuildError, UsageError
from buildkit.human import size_text
from buildkit.inventory import KINDS, Item, inventory
from buildkit.known_mounts import KnownMounts
from buildkit.printing import complain
from buildkit.pruning import lock_alone, prune, reset
from buildkit.subcommands import MANY, Fields, disk_errors, parsed
from buildkit.verifying import repair, verify
from runtime.errors import ContainerError
from runtime.errors import UsageError as OptionError
from runtime.limits import size
from runtime.options import OptionTable
from runtime.sandbox.userns import become_root
from runtime.store.store import Store, default_root

HELP = """\
usage: pybuild du [--format text|json]
       pybuild prune [--all | --until AGE] [--keep SIZE]
       pybuild reset [--force]
       pybuild verify-store [--repair]
       pybuild cache ls [--format text|json]
       pybuild cache prune [--until AGE] [ID...]
       pybuild cache export ID [FILE]
       pybuild cache import ID [FILE]

Look after the store. What an image with a name needs is never pruned.

  -a, --all           all that no named image needs
      --until AGE     what has not been used for so long: 90s, 30m, 24h, 7d
      --keep SIZE     the oldest, until the store has no more than SIZE (512m, 20g);
                      with docker's and podman's words: --filter until=AGE, --keep-storage
  -f, --force         do not ask
      --repair        remove what is damaged: steps are done again when they are needed, an
                      image that has lost something loses its name
      --format text|json
      --root DIR      the store (default: $PYBUILD_ROOT, /var/lib/pybuild)

`cache` is about the directories of RUN --mount=type=cache, by id. A file of an export is a
tar; without FILE it is standard input or output.

PYBUILD_STORE_LIMIT=SIZE keeps the store below a size: builds prune the oldest when they end.

Exit status: 0; 1 verify-store found damage; 2 the command line is wrong; 5 the store is in use
or cannot be written.
"""
TABLE = OptionTable(
    "pybuild prune",
    values={
        "--until": "until",
        "--keep": "keep",
        "--keep-storage": "keep",
        "--filter": "filter",
        "--format": "format",
        "--root": "root",
    },
    lists={},
    flags={
        "-a": "all",
        "--all": "all",
        "-f": "force",
        "--force": "force",
        "--repair": "repair",
        "--help": "help",
    },
)
_HELP_HINT = "pybuild du --help"
_OPERANDS = {"cache prune": (0, MANY), "cache export": (1, 2), "cache import": (1, 2)}
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
ALLOWED = {  # beside --root
    "du": {"format"},
    "prune": {"until", "keep", "filter", "all"},
    "reset": {"force"},
    "verify-store": {"repair"},
    "cache ls": {"format"},
    "cache prune": {"until", "filter"},
    "cache export": set(),
    "cache import": set(),
}


def run_store_command(arguments: list[str]) -> int:
    """Run one of the commands; returns the exit status. Raises BuildError, StoreError."""
    words = 2 if arguments[0] == "cache" and arguments[1:2] != ["--help"] else 1
    command, rest = " ".join(arguments[:words]), arguments[words:]
    if command not in ALLOWED and "--help" not in rest:
        raise UsageError(f"{command}: ls, prune, export or import", hint=_HELP_HINT)
    fields, operands = parsed(
        TABLE,
        [command, *rest],
        allowed=ALLOWED.get(command, set()) | {"root"},
        operands=_OPERANDS.get(command, (0, 0)),
        hint=_usage(command),
    )
    if fields.get("help"):
        sys.stdout.write(HELP)
        return 0
    with disk_errors():
        return _run(command, fields, operands)


def _run(command: str, fields: Fields, operands: list[str]) -> int:
    root = str(fields.get("root") or default_root())
    unused_s, keep = _age(fields), _keep(fields)
    if command == "prune" and not (fields.get("all") or unused_s is not None or keep is not None):
        raise UsageError(
            "pybuild prune: what is to be removed?", hint="--all, --until AGE or --keep SIZE"
        )
    if fields.get("format", "text") not in ("text", "json"):
        raise UsageError(f"--format {fields['format']!r}: text or json")
    try:
        become_root()  # files of containers belong to subordinate ids
    except ContainerError as error:
        raise BuildError(error.message, hint=error.hint) from error
    store = Store(root)
    as_json = fields.get("format") == "json"
    mounts = KnownMounts(store)
    match command:
        case "du":
            _show_use(store, inventory(store), as_json=as_json)
        case "prune":
            lock_alone(store)
            removed = prune(store, unused_s=unused_s, keep_bytes=keep)
            complain(f"{len(removed)} things removed: {size_text(sum(i.size for i in removed))}")
        case "reset":
            _reset(store, ask=not fields.get("force"))
        case "verify-store":
            return _verify(store, mends=bool(fields.get("repair")))
        case "cache ls":
            _show_mounts(mounts, as_json=as_json)
        case "cache prune":
            lock_alone(store)
            for mount in mounts.prune(tuple(operands), unused_s=unused_s):
                complain(f"{mount.id}: removed, {size_text(mount.size)}")
        case "cache export":
            _with_file(operands, "wb", 1, lambda fd: mounts.export(operands[0], fd))
        case _:
            lock_alone(store)
            _with_file(operands, "rb", 0, lambda fd: mounts.import_(operands[0], fd))
    return 0


def _usage(command: str) -> str:
    lines = [line.strip() for line in HELP.replace("usage:", "").split("\n\n")[0].splitlines()]
    return next(line for line in lines if line.startswith(f"pybuild {command}"))


def _age(fields: Fields) -> float | None:
    text = fields.get("until")
    if (given := fields.get("filter")) is not None:  # docker's and podman's way to say it
        key, _, text = str(given).partition("=")
        if key != "until":
            raise UsageError(f"--filter {given!r}: until=AGE expected")
    if text is None:
        return None
    digits, unit = str(text)[:-1], str(text)[-1:]
    if not (digits.isascii() and digits.isdigit() and unit in _UNITS_S):
        raise UsageError(f"--until {text!r}: an age expected, such as 30m, 24h or 7d")
    return int(digits) * _UNITS_S[unit]


def _keep(fields: Fields) -> int | None:
    text = fields.get("keep")
    try:
        return None if text is None else size(str(text), "--keep")
    except OptionError as error:
        raise UsageError(error.message, hint=error.hint) from None


def _show_use(store: Store, items: list[Item], *, as_json: bool) -> None:
    rows = []
    for kind in KINDS:
        of_kind = [item for item in items if item.kind == kind]
        total = sum(item.size for item in of_kind)
        loose = sum(item.size for item in of_kind if not item.held)
        rows.append({"type": kind, "count": len(of_kind), "size": total, "reclaimable": loose})
    if as_json:
        print(json.dumps({"store": store.root, "use": rows}, indent=2))
        return
    print(f"{'TYPE':<16} {'COUNT':>7} {'SIZE':>10} {'RECLAIMABLE':>12}")
    for row in rows:
        sizes = [size_text(int(str(row[key]))) for key in ("size", "reclaimable")]
        print(f"{row['type']:<16} {row['count']:>7} {sizes[0]:>10} {sizes[1]:>12}")


def _show_mounts(mounts: KnownMounts, *, as_json: bool) -> None:
    found = mounts.all()
    if as_json:
        table = [
            {"id": m.id, "from": m.origin, "size": m.size, "used": int(m.used)} for m in found
        ]
        print(json.dumps(table, indent=2))
        return
    print(f"{'SIZE':>10} {'LAST USED':<20} ID")
    for mount in found:
        used = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(mount.used))
        origin = f" (from {mount.origin})" if mount.origin else ""
        print(f"{size_text(mount.size):>10} {used:<20} {mount.id}{origin}")


def _reset(store: Store, *, ask: bool) -> None:
    if ask:
        if not sys.stdin.isatty():
            raise UsageError("pybuild reset removes all images and caches", hint="--force does")
        complain(f"Remove everything in {store.root}, images too? [y/N]")
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            return
    lock_alone(store)
    reset(store)


def _verify(store: Store, *, mends: bool) -> int:
    damaged = 0
    if mends:
        lock_alone(store)
    for damage in verify(store):
        damaged += 1
        complain(f"{damage.path}: {damage.what}{': removed' if mends else ''}")
        if mends:
            repair(damage)
    complain(f"{store.root}: {f'{damaged} things are damaged' if damaged else 'whole'}")
    return 1 if damaged and not mends else 0


def _with_file(
    operands: list[str], mode: str, standard: int, function: Callable[[int], None]
) -> None:
    if len(operands) == 1 or operands[1] == "-":
        if os.isatty(standard):
            raise UsageError("a tar on a terminal", hint="name a file")
        function(standard)
        return
    with open(operands[1], mode) as file:
        function(file.fileno())
