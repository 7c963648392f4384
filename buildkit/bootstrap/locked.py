"""The lock file: which packages a BOOTSTRAP leads to, so that it does so everywhere and always.

JSON with sorted keys, and one package on a line so that differences read well. Each bootstrap is
found by its stage, its number in that, and its architecture.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any

from buildkit.bootstrap.asked import Asked
from buildkit.bootstrap.keys import Key
from buildkit.bootstrap.openpgp import fingerprints
from buildkit.bootstrap.resolved import Resolution, Resolved, read_resolved
from buildkit.errors import BuildError
from buildkit.steps import BootstrapStep
from runtime.oci.digest import digest_of
from runtime.record import Record

VERSION = 1
_OPTIONS = ("releasever", "arch", "langs", "weak", "docs", "gpgcheck", "setopts")


class LockedBootstrap(Record):
    """What a lock file says of one bootstrap."""

    name: str  # of the file, for errors
    spec: Mapping[str, str]  # digests of what was asked for, by topic
    resolved: Resolved
    keys: Mapping[str, tuple[Key, ...]]  # by repository
    epoch: int  # seconds
    below: str  # what the layer was made on (`State.parent`)
    result: str  # diff_id of the layer; empty if there is none
    vendored: str = ""  # a directory with the packages


class LockFile(Record):
    """All of a lock file."""

    path: str
    digest: str
    entries: Mapping[str, LockedBootstrap]
    documents: Mapping[str, object]  # the same as they are in the file
    vendored: str = ""  # as it is written: relative to the file


def spec_of(step: BootstrapStep, asked: Asked) -> dict[str, str]:
    """Digests of what is asked for, by topic: what is locked must have been asked for."""
    parts = asked.parts
    topics: dict[str, object] = {
        "packages": [parts["packages"], parts["files"], parts["excludes"]],
        "modules": [module.text for module in step.modules],
        "repositories": parts["repositories"],
        "keys": [
            [section.id, sorted(key.written for key in section.keys)]
            for section in asked.repositories.sections
        ],
        **{name: getattr(step, name) for name in _OPTIONS},
    }
    return {name: _digest(value) for name, value in topics.items()}


def changed_topics(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """What was asked for otherwise when it was locked."""
    return sorted(name for name in {*old, *new} if old.get(name) != new.get(name))


def read_lock(path: str) -> LockFile | None:
    """A lock file, None if there is none; raises BuildError that names what is wrong in it."""
    try:
        with open(path, "rb") as file:
            content = file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BuildError(f"{path}: {error.strerror}") from error
    return parse_lock(content, path)


def parse_lock(content: bytes, path: str) -> LockFile:
    """The same for its content."""
    try:
        document = json.loads(content)
    except ValueError as error:
        raise BuildError(f"{path}: not a lock file: {error}") from None
    version = document.get("version") if isinstance(document, dict) else None
    if version != VERSION:
        raise BuildError(
            f"{path}: a lock file of version {version!r}, not {VERSION}",
            hint="delete it, and `pybuild lock` makes a new one",
        )
    vendored = document.get("vendor", "")
    directory = os.path.join(os.path.dirname(os.path.abspath(path)), vendored) if vendored else ""
    entries = {}
    try:
        for name, entry in document["bootstraps"].items():
            entries[name] = _entry(name, entry, path, directory)
    except (KeyError, TypeError, AttributeError) as error:
        raise BuildError(f"{path}: not a lock file: {error!r}") from None
    digest = str(digest_of(content))
    return LockFile(
        path=path,
        digest=digest,
        entries=entries,
        documents=document["bootstraps"],
        vendored=vendored,
    )


def _entry(name: str, entry: Any, path: str, vendored: str) -> LockedBootstrap:
    try:
        resolved = read_resolved(entry)
        keys = _keys(entry["keys"])
    except BuildError as error:
        raise BuildError(f"{path}: {name}: {error.message}") from None
    for repository in resolved.repositories:
        for fingerprint in repository.keys:
            if fingerprint not in keys:
                raise BuildError(f"{path}: {name}: the key {fingerprint} is missing")
    known = {repository.id for repository in resolved.repositories}
    for package in resolved.packages:
        if package.repo and package.repo not in known:
            raise BuildError(
                f"{path}: {name}: package {package.label}: no repository {package.repo!r}"
            )
    return LockedBootstrap(
        name=path,
        spec={str(topic): str(digest) for topic, digest in entry["spec"].items()},
        resolved=resolved,
        keys={
            repository.id: tuple({keys[f].content: keys[f] for f in repository.keys}.values())
            for repository in resolved.repositories
        },
        epoch=int(entry["epoch"]),
        below=str(entry.get("below") or ""),
        result=str(entry.get("result") or ""),
        vendored=vendored,
    )


def _keys(document: Mapping[str, str]) -> dict[str, Key]:
    found = {}
    for fingerprint, text in document.items():
        content = text.encode()
        try:
            has = fingerprints(content)
        except BuildError as error:
            raise BuildError(f"the key {fingerprint}: {error.message}") from None
        if fingerprint not in has:
            raise BuildError(f"the key {fingerprint} is another one: {', '.join(has)}")
        found[fingerprint] = Key(name=fingerprint, content=content, fingerprints=has)
    return found


def to_entry(
    step: BootstrapStep, asked: Asked, resolution: Resolution, *, below: str, result: str
) -> dict[str, Any]:
    """What a lock file says of a bootstrap."""
    resolved = resolution.resolved
    keys = {f: key for key in asked.repositories.keys for f in key.fingerprints}
    if not step.gpgcheck:
        keys = {}
        resolved = resolved.replace(
            repositories=tuple(r.replace(keys=()) for r in resolved.repositories)
        )
    return {
        "spec": spec_of(step, asked),
        "manager": step.manager,
        "releasever": step.releasever,
        "epoch": resolution.epoch,
        "below": below,
        "keys": {fingerprint: _armored(key) for fingerprint, key in keys.items()},
        "result": result,
        **resolved.to_json(),
    }


def _armored(key: Key) -> str:
    if key.content.lstrip().startswith(b"-----BEGIN"):
        return key.content.decode("ascii", "replace")
    import base64

    text = base64.encodebytes(key.content).decode()
    return f"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n{text}-----END PGP PUBLIC KEY BLOCK-----\n"


def write_text(entries: Mapping[str, Any], vendored: str) -> str:
    """The text of a lock file: sorted, each package on a line of its own."""
    lines = ["{"]
    blocks = []
    for name, entry in sorted(entries.items()):
        items = []
        for key, value in sorted(entry.items()):
            if key != "packages":
                text = json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False)
                items.append(f"   {json.dumps(key)}: " + text.replace("\n", "\n   "))
                continue
            rows = [
                f"    {json.dumps(package, sort_keys=True, ensure_ascii=False)}"
                for package in sorted(
                    value, key=lambda package: str(package.get("nevra") or package["deb"])
                )
            ]
            items.append('   "packages": [\n' + ",\n".join(rows) + "\n   ]")
        blocks.append(f"  {json.dumps(name)}: {{\n" + ",\n".join(items) + "\n  }")
    lines.append(' "bootstraps": {\n' + ",\n".join(blocks) + "\n },")
    if vendored:
        lines.append(f' "vendor": {json.dumps(vendored)},')
    lines.append(f' "version": {VERSION}')
    return "\n".join([*lines, "}"]) + "\n"


def _digest(value: object) -> str:
    text = json.dumps(value, sort_keys=True)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
