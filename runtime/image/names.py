"""Names of images, as archives and users write them: `[REGISTRY/]NAME[:TAG]`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

REF_NAME = "org.opencontainers.image.ref.name"  # a tag or a name (image-spec annotations.md)
FULL_NAME = "io.containerd.image.name"  # with registry, namespace and tag
_HUB = ("docker.io/library/", "docker.io/", "index.docker.io/library/", "index.docker.io/")
_PATH = frozenset("abcdefghijklmnopqrstuvwxyz0123456789._-/:")
_TAG = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
_LONGEST = 200  # with what quoting adds it is the name of a file


def tagged(name: str) -> str:
    """A name with its tag, `latest` where none is given."""
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


def full_name(name: str) -> str:
    """The name as docker completes it: registry, namespace and tag."""
    first, slash, _ = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return tagged(name)
    return tagged(f"docker.io/{name}" if slash else f"docker.io/library/{name}")


def familiar_name(name: str) -> str:
    """The name as users write it, with its tag: without what `full_name` adds."""
    for prefix in _HUB:
        if name.startswith(prefix):
            return tagged(name.removeprefix(prefix))
    return tagged(name)


def is_name(name: str) -> bool:
    """Whether it is a name, with or without a tag, that an image can have in a store."""
    path, _, tag = tagged(name).rpartition(":")
    parts = path.split("/")
    if ":" in parts[-1] or {"", ".", ".."} & set(parts) or name.startswith("-"):
        return False
    fits = len(name) + 2 * name.count("/") <= _LONGEST
    return bool(tag) and _PATH.issuperset(path) and _TAG.issuperset(tag) and fits


def listed_names(table: Mapping[str, Any]) -> tuple[str, str]:
    """What a descriptor of an index says that the image is called: full name, tag or name."""
    annotations = table.get("annotations")
    if not isinstance(annotations, dict):
        return "", ""
    full, short = (annotations.get(key) for key in (FULL_NAME, REF_NAME))
    return full if isinstance(full, str) else "", short if isinstance(short, str) else ""


def means(reference: str, name: str) -> bool:
    """Whether a user who writes `reference` means a name of an archive: all of it or its tag."""
    if not name or not reference:
        return False
    whole = familiar_name(name)
    return reference in (name, whole.rpartition(":")[2]) or familiar_name(reference) == whole
