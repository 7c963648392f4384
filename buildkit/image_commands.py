"""`pybuild images|inspect|history|tag|rmi`: images that have a name in the store."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any

from buildkit.command_line import check_name
from buildkit.errors import BuildError, UsageError
from buildkit.human import size_text
from buildkit.image_tables import (
    filled_in,
    history_rows,
    history_table,
    inspection,
    list_rows,
    list_table,
)
from buildkit.images import image_names
from buildkit.known_images import KnownImage, MissingImage, find_known, known_images
from buildkit.printing import complain
from buildkit.subcommands import MANY, disk_errors, parsed, platform_of
from buildkit.untagging import remove_unnamed, untag
from runtime.errors import ContainerError, ImageError
from runtime.image.names import tagged
from runtime.image.source import LAYOUT, named_descriptor, open_image
from runtime.oci.image import MANIFEST
from runtime.options import OptionTable
from runtime.sandbox.userns import become_root
from runtime.store.store import Store, default_root, write_atomically

if TYPE_CHECKING:
    from runtime.image.archive import Image
    from runtime.oci.image import Descriptor

HELP = """\
usage: pybuild images [-q] [--digests] [--no-trunc] [--format text|json] [NAME]
       pybuild inspect [--format json|TEMPLATE] [--platform OS/ARCH] IMAGE...
       pybuild history [--no-trunc] [--format text|json] [--platform OS/ARCH] IMAGE
       pybuild tag IMAGE NAME[:TAG]...
       pybuild rmi [-f] IMAGE...
       pybuild rmi -a

The images that have a name in the store. IMAGE is a name, or an id: the beginning of a digest of
the image's configuration or manifest. `inspect` and `history` take archives and
oci-layout://DIRECTORY[:TAG] too.

  -q, --quiet        only ids
      --digests      of manifests, too
      --no-trunc     do not shorten
      --format       TEMPLATE is docker's, with {{.Field}} and {{json .Field}} alone
      --platform     of an image for several
  -a, --all          of rmi: all names; images shows all of them anyway
  -f, --force        an id with several names loses all of them; what is missing is no error
      --root DIR     the store (default: $PYBUILD_ROOT, /var/lib/pybuild)

An image that has lost its last name goes with all that only it needed, but for what steps of
builds led to, which `pybuild prune` removes.

Exit status: 0; 1 there is no such image, or it is damaged; 2 the command line is wrong; 5 the
store cannot be written.
"""
_HELP_HINT = "pybuild images --help"
TABLE = OptionTable(
    "pybuild images",
    values={"-f": "format", "--format": "format", "--platform": "platform", "--root": "root"},
    lists={},
    flags={
        "-q": "quiet",
        "--quiet": "quiet",
        "--digests": "digests",
        "--no-trunc": "full",
        "-a": "all",
        "--all": "all",
        "--help": "help",
    },
)
RMI_TABLE = OptionTable(
    "pybuild rmi",
    values={"--root": "root"},
    lists={},
    flags={"-f": "force", "--force": "force", "-a": "all", "--all": "all", "--help": "help"},
)
ALLOWED = {
    "images": {"quiet", "digests", "full", "format", "all"},
    "inspect": {"format", "platform"},
    "history": {"full", "format", "platform", "quiet"},
    "tag": set(),
    "rmi": {"force", "all"},
}
_OPERANDS = {
    "images": (0, 1),
    "inspect": (1, MANY),
    "history": (1, 1),
    "tag": (2, MANY),
    "rmi": (0, MANY),
}


def run_image_command(arguments: list[str]) -> int:
    """Run one of the commands; returns the exit status.

    Raises BuildError, ImageError, StoreError.
    """
    command = arguments[0]
    fields, operands = parsed(
        RMI_TABLE if command == "rmi" else TABLE,
        arguments,
        allowed=ALLOWED[command] | {"root"},
        operands=_OPERANDS[command],
        hint=_HELP_HINT,
    )
    if fields.get("help"):
        sys.stdout.write(HELP)
        return 0
    if command == "rmi" and bool(operands) == bool(fields.get("all")):
        raise UsageError("pybuild rmi: images, or --all", hint=_HELP_HINT)
    with disk_errors():
        return _run(command, fields, operands)


def _run(command: str, fields: dict[str, Any], operands: list[str]) -> int:
    root = fields.get("root") or default_root()
    if command == "rmi":
        try:
            become_root()  # files of layers belong to subordinate ids
        except ContainerError as error:
            raise BuildError(error.message, hint=error.hint) from error
    store = Store(root)
    match command:
        case "images":
            return _list(store, fields, operands)
        case "inspect":
            return _inspect(store, fields, operands)
        case "history":
            _show_history(_opened(store, operands[0], fields), fields)
        case "tag":
            for name in operands[1:]:
                check_name(name, "tag")
            descriptor = find_known(store, operands[0]).descriptor
            for name in operands[1:]:
                record = json.dumps(descriptor.to_json()).encode()
                write_atomically(store.image_name(name), record)
        case _:
            return _remove(store, fields, operands)
    return 0


def _list(store: Store, fields: dict[str, Any], operands: list[str]) -> int:
    images, damages = known_images(store)
    rows = [row for row in list_rows(images) if not operands or _fits(row, operands[0])]
    if fields.get("format", "text") not in ("text", "json"):
        raise UsageError(f"--format {fields['format']!r}: text or json")
    if fields.get("quiet"):
        ids = [row["id"] for row in rows]
        shown = [id if fields.get("full") else id.removeprefix("sha256:")[:12] for id in ids]
        sys.stdout.write("".join(f"{id}\n" for id in dict.fromkeys(shown)))
    elif fields.get("format") == "json":
        print(json.dumps(rows, indent=2))
    else:
        sys.stdout.write(
            list_table(
                rows,
                now=time.time(),
                digests=bool(fields.get("digests")),
                full=bool(fields.get("full")),
            )
        )
    for damage in damages:
        complain(f"pybuild: {damage.message}", "pybuild verify-store says all that is damaged")
    return BuildError.status if damages else 0


def _fits(row: dict[str, Any], word: str) -> bool:
    """Whether a name is meant by one, which may lack the tag."""
    return word in (row["name"], row["repository"])


def _inspect(store: Store, fields: dict[str, Any], operands: list[str]) -> int:
    template, documents, status = fields.get("format", "json"), [], 0
    for word in operands:
        try:
            known, image = _known(store, word), _opened(store, word, fields)
        except (BuildError, ImageError) as error:
            complain(f"pybuild: {error.message}", error.hint)
            status = BuildError.status
            continue
        id = image.manifest.config.digest
        names = known.names if known is not None else ()
        documents.append(inspection(image, names, str(id), _media_type(known)))
    if template == "json":
        print(json.dumps(documents, indent=2, ensure_ascii=False))
    else:
        for document in documents:
            print(filled_in(template, document))
    return status


def _media_type(known: KnownImage | None) -> str:
    if known is None or len(known.images) > 1:
        return MANIFEST
    return known.descriptor.media_type


def _known(store: Store, word: str) -> KnownImage | None:
    """The image in the store that a word means; None for a file or a layout."""
    is_path = word.startswith((LAYOUT, ".", "/")) or word.endswith(".tar")
    if is_path and not os.path.exists(store.image_name(word)):
        return None
    return find_known(store, word)


def _opened(store: Store, word: str, fields: dict[str, Any]) -> Image:
    """The image for one platform: the one that is asked for, else this machine's."""
    known, platform = _known(store, word), platform_of(fields)
    if known is None:
        return open_image(store, word, platform)
    if len(known.images) == 1 and not platform:
        return known.images[0]
    return open_image(store, known.names[0], platform)


def _show_history(image: Image, fields: dict[str, Any]) -> None:
    rows = history_rows(image)
    if fields.get("format", "text") not in ("text", "json"):
        raise UsageError(f"--format {fields['format']!r}: text or json")
    if fields.get("quiet"):
        sys.stdout.write("".join(f"{row.layer}\n" for row in rows if row.layer))
    elif fields.get("format") == "json":
        print(json.dumps([row.to_json() for row in rows], indent=2, ensure_ascii=False))
    else:
        sys.stdout.write(history_table(rows, now=time.time(), full=bool(fields.get("full"))))


def _remove(store: Store, fields: dict[str, Any], operands: list[str]) -> int:
    status = 0
    words = image_names(store) if fields.get("all") else operands
    for word in words:
        try:
            _remove_one(store, word, force=bool(fields.get("force")))
        except (BuildError, ImageError) as error:
            if fields.get("force") and isinstance(error, MissingImage):
                continue
            complain(f"pybuild: {error.message}", error.hint)
            status = BuildError.status
    return status


def _remove_one(store: Store, word: str, *, force: bool) -> None:
    names: tuple[str, ...] = (tagged(word),)
    descriptor: Descriptor | None
    if os.path.exists(store.image_name(word)):
        descriptor = _descriptor(store, word)
    else:
        known = find_known(store, word)
        names, descriptor = known.names, known.descriptor
    if len(names) > 1 and not force:
        raise BuildError(
            f"{word}: has several names: {', '.join(names)}", hint="-f takes all of them"
        )
    for name in names:
        untag(store, name)
        print(f"Untagged: {name}")
    removed = None if descriptor is None else remove_unnamed(store, descriptor)
    if removed is None or descriptor is None:
        return
    if removed.in_use:
        complain(f"{descriptor.digest}: the store is in use; pybuild prune removes it later")
        return
    things = "1 thing" if removed.count == 1 else f"{removed.count} things"
    print(f"Deleted: {descriptor.digest} ({things}, {size_text(removed.size)})")


def _descriptor(store: Store, name: str) -> Descriptor | None:
    """What a name stands for; None for a damaged record, which goes all the same."""
    try:
        return named_descriptor(store, name)
    except ImageError:
        return None
