"""`pyrun info [IMAGE]`: what this machine lets pyrun do, and how an image will be started."""

from __future__ import annotations

import os

from runtime.errors import UsageError
from runtime.options import OptionTable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runtime.info import Facts

TABLE = OptionTable(
    "pyrun info",
    values={
        "--root": "root",
        "--platform": "platform",
        "--rootfs": "rootfs",
        "--format": "format",
    },
    lists={},
    flags={"--help": "help"},
)


def main(arguments: list[str]) -> int:
    """Print it; returns the exit status."""
    from runtime.command_line import INFO_HELP, ROOTFS

    fields, operands = TABLE.parse(arguments, operands_end_options=False)
    if fields.get("help"):
        _write(INFO_HELP)
        return 0
    form, rootfs = fields.get("format", "text"), fields.get("rootfs", "auto")
    if form not in ("text", "json"):
        raise UsageError(f"--format {form}: text or json")
    if rootfs not in ROOTFS:
        raise UsageError(f"--rootfs {rootfs}: {', '.join(ROOTFS[:-1])} or {ROOTFS[-1]}")
    if len(operands) > 1:
        raise UsageError("info: one image, or none", hint="pyrun info --help")
    facts = _facts(operands, fields.get("root"), fields.get("platform", ""), rootfs)
    if form == "json":
        from json import dumps

        _write(dumps({_key(name): value for name, value in facts.items()}, indent=2) + "\n")
        return 0
    width = max(map(len, facts))
    _write("".join(f"{name:{width}}  {value}\n" for name, value in facts.items()))
    return 0


def _facts(operands: list[str], root: str | None, platform: str, rootfs: str) -> Facts:
    from runtime.info import image_facts, machine_facts
    from runtime.oci.platform import asked_platform
    from runtime.sandbox.userns import become_root
    from runtime.store.store import Store, default_root

    root, uid = root or default_root(), os.getuid()
    become_root()
    store = Store(root)
    if not operands:
        return machine_facts(store, uid)
    from runtime.image.source import open_image

    [name] = operands
    image = open_image(store, name, asked_platform(platform) if platform else "")
    path = name if os.path.exists(name) else store.image_name(name)
    return image_facts(store, image, "" if platform else path, rootfs)


def _key(name: str) -> str:
    """A name as JSON has it: `rootFilesystem`."""
    first, *rest = name.split()
    return first + "".join(map(str.capitalize, rest))


def _write(text: str) -> None:
    os.write(1, text.encode("utf-8", "surrogateescape"))
