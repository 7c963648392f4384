"""A target as the command line of `pybuild` that would build it alone."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from typing import Any

from buildkit.bake.definition import links_of
from buildkit.bake.fields import Fields
from buildkit.command_line import CommandLine, check_name
from buildkit.errors import UsageError
from buildkit.outputs import STDOUT
from buildkit.stored_outputs import KINDS, StoredOutput, joined, read_fields
from runtime.record import Record

INSECURE = "security.insecure"
_HERE = "cwd://"
_ENTITLEMENTS = (INSECURE, "network.host", "device")


class Common(Record):
    """What the command line of bake says of all targets."""

    allow: tuple[str, ...] = ()
    call: str = "build"
    isolation: str = ""
    jobs: str = ""
    progress: str = ""
    quiet: bool = False
    root: str | None = None


class Options(Record):
    """A target's command line; a Containerfile that stands in the definition; what is left out."""

    line: CommandLine
    inline: str | None
    notes: tuple[str, ...]


def options_of(fields: Fields, common: Common) -> Options:
    """What a target asks for; raises UsageError."""
    context = _local("context", fields.get("context", "."))
    outputs, stored = _outputs(fields)
    if stored.pushes and not stored.names:
        raise UsageError("push: to what name?", hint="tags names the registry")
    attests, notes = _attests(fields)
    links = links_of(fields)
    inline = fields.get("dockerfile-inline")
    line = CommandLine(
        context=context,
        file="-" if inline is not None else _containerfile(context, fields.get("dockerfile")),
        outputs=outputs,
        labels=_pairs(fields.get("labels", {})),
        annotations=tuple(fields.get("annotations", ())),
        tags=stored.names,
        compression=stored.compression,
        target=fields.get("target"),
        platforms=tuple(fields.get("platforms", ())),
        build_args=_pairs(fields.get("args", {})),
        build_contexts=tuple(
            f"{name}={_local(f'contexts.{name}', value)}"
            for name, value in sorted(fields.get("contexts", {}).items())
            if name not in links
        ),
        push=stored.pushes,
        pull="always" if fields.get("pull") else "",
        no_cache=bool(fields.get("no-cache")),
        no_cache_filter=tuple(fields.get("no-cache-filter", ())),
        cache_from=tuple(map(_csv, fields.get("cache-from", ()))),
        cache_to=tuple(map(_csv, fields.get("cache-to", ()))),
        secrets=tuple(map(_csv, fields.get("secret", ()))),
        ssh=tuple(map(_agent, fields.get("ssh", ()))),
        allow=_entitlements(fields.get("entitlements", ()), common.allow),
        network=fields.get("network", ""),
        add_hosts=tuple(
            f"{name}={address}"
            for name, addresses in sorted(fields.get("extra-hosts", {}).items())
            for address in addresses.split(",")
        ),
        shm_size=re.sub(r"(?i)(?<=[kmgt])i?b$|(?<=\d)b$", "", fields.get("shm-size", "")),
        ulimits=tuple(fields.get("ulimits", ())),
        attests=attests,
        call=_call(fields, common),
        isolation=common.isolation,
        jobs=common.jobs,
        progress=common.progress,
        quiet=common.quiet,
        root=common.root,
    )
    return Options(line=line, inline=inline, notes=tuple(notes))


def _local(key: str, value: str) -> str:
    """A path on this machine, or what else a named context may be."""
    value = value.removeprefix(_HERE) or "."
    if key == "context" and (value == STDOUT or "://" in value or value.startswith("git@")):
        raise UsageError(f"context {value}: only directories are read by this version")
    return value


def _containerfile(context: str, name: str | None) -> str:
    """The path of the Containerfile, which the context leads to; "" for the default names."""
    if not name:
        return ""
    if name.startswith(_HERE):
        return name.removeprefix(_HERE)
    if name == STDOUT:
        raise UsageError("dockerfile: standard input is not read here")
    return name if name.startswith("/") or context == "." else f"{context.rstrip('/')}/{name}"


def _pairs(table: dict[str, str]) -> tuple[str, ...]:
    return tuple(f"{name}={value}" for name, value in sorted(table.items()))


def _csv(entry: dict[str, str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow([f"{k}={v}" for k, v in entry.items()])
    return text.getvalue()


def _agent(entry: dict[str, Any]) -> str:
    paths = ",".join(entry.get("paths", ()))
    return f"{entry['id']}={paths}" if paths else str(entry["id"])


def _entitlements(asked: Iterable[str], allowed: tuple[str, ...]) -> tuple[str, ...]:
    for name in asked:
        if name.partition(".")[0] == "device" or name not in _ENTITLEMENTS:
            raise UsageError(f"entitlements: {name!r} is not known to this version")
        if name == INSECURE and name not in allowed:
            raise UsageError(
                f"entitlements: {name} gives steps all rights over this machine",
                hint=f"--allow {name} lets targets have it",
            )
    return tuple(asked)


def _outputs(fields: Fields) -> tuple[tuple[str, ...], StoredOutput]:
    """What is to be written, as words of -o; what becomes of the image in the store."""
    words, stored = [], [StoredOutput(names=tuple(fields.get("tags", ())))]
    for entry in fields.get("output", ()):
        given = dict(entry)
        kind, dest = given["type"], given.get("dest", "")
        if kind in KINDS:
            stored.append(read_fields(given, f"output type={kind}"))
            continue
        about = {key: given.pop(key) for key in ("name", "push") if key in given}
        stored.append(read_fields({"type": "image", **about}, f"output type={kind}"))
        if kind == "docker" and not dest:
            continue  # its names are in the store
        if kind not in ("local", "rootfs") and not dest:
            dest = given["dest"] = STDOUT
        if not dest:
            raise UsageError(f"output type={kind}: dest=DIRECTORY expected")
        if any("," in text for text in given.values()):
            raise UsageError(f"output type={kind}: a comma in {given}")
        words.append(",".join(f"{k}={v}" for k, v in given.items()))
    found = joined(stored)
    for tag in found.names:
        check_name(tag, "tags")
    return tuple(words), found


def _attests(fields: Fields) -> tuple[tuple[str, ...], list[str]]:
    """What is attested, as words of --attest, and what is said of the rest."""
    words, notes = [], []
    for entry in fields.get("attest", ()):
        kind, known = entry["type"], {"type", "mode", "builder-id", "version"}
        if entry.get("disabled"):
            continue
        if kind not in ("provenance", "sbom"):
            notes.append(f"attest type={kind} is not supported by this version, and left out")
            continue
        notes += [
            f"attest type={kind}: {key} is not supported by this version, and left out"
            for key in entry
            if key not in known
        ]
        words.append(",".join(f"{key}={value}" for key, value in entry.items() if key in known))
    return tuple(words), notes


def _call(fields: Fields, common: Common) -> str:
    call = str(fields.get("call", "build"))
    if call not in ("build", "check"):
        raise UsageError(f"call {call!r}: build or check")
    return common.call if common.call != "build" else call
