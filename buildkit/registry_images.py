"""Images of registries: pulled when they are needed, pushed when they are made.

What a name led to for a platform is written down, so that the next build asks nobody.
"""

from __future__ import annotations

import json
import os

from buildkit.errors import BuildError, DiskError, NetworkError, UsageError
from buildkit.progress import QUIET, Progress
from runtime.errors import ImageError, RegistryError
from runtime.errors import UsageError as NameProblem
from runtime.image.archive import Image
from runtime.image.source import named_descriptor, named_image, stored_image
from runtime.oci.digest import Digest, digest_of
from runtime.oci.image import Descriptor
from runtime.oci.reader import parse_json
from runtime.record import Record
from runtime.registry.reference import Reference, parse_reference, unverified
from runtime.store.store import Store, write_atomically

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from buildkit.compressing import Compression
    from buildkit.transferring import Report

ALWAYS, MISSING, NEVER, NEWER = "always", "missing", "never", "newer"


class Puller(Record):
    """How images come from registries."""

    policy: str = MISSING
    progress: Progress = Progress(QUIET)  # where it is shown

    @property
    def asks_first(self) -> bool:
        """Whether a registry is asked although the store has a name."""
        return self.policy in (ALWAYS, NEWER)

    def find(self, store: Store, name: str, platform: str) -> Image:
        """The image of a name, as the policy has it: the store's or the registry's.

        What is damaged in the store is fetched again. Raises BuildError, NetworkError, DiskError,
        UsageError.
        """
        known = None if self.policy == ALWAYS else self._known(store, name, platform)
        if self.policy == NEVER or (self.policy == MISSING and known is not None):
            if known is None:
                raise BuildError(
                    f"no image {name!r} in the store, and --pull=never asks no registry"
                )
            return known
        if self.policy == NEWER and known is not None:
            from buildkit.transferring import first_answer, in_child

            places = places_of(name)
            try:
                found = in_child(lambda: first_answer(places, _stands_for))
                if found == _remembered(store, name, platform):
                    return known
            except NetworkError as error:
                note = f"pybuild: warning: what the store has is taken: {error.message}"
                self.progress.note(note)
                return known
        # The name itself stands for this machine's image.
        return pull_image(store, name, platform, named=not platform, progress=self.progress)

    def whole(self, store: Store, name: str, platform: str) -> Image:
        """The image of a name that the store has, which is mended if it is damaged.

        Raises as `find`, and ImageError.
        """

        def read() -> Image:
            return named_image(store, name, platform)

        return self._mended(store, name, named_descriptor(store, name), read)

    def _mended(
        self, store: Store, name: str, top: Descriptor, read: Callable[[], Image]
    ) -> Image:
        from buildkit.mending import mended

        asks = self.policy != NEVER
        return mended(store, name, top, read, progress=self.progress, asks=asks)

    def _known(self, store: Store, name: str, platform: str) -> Image | None:
        """The image that the store has for a name and a platform; None if it has none, or not
        all.
        """
        image = None
        if os.path.exists(store.image_name(name)):
            try:
                image = self.whole(store, name, platform)
            except ImageError:  # of another platform, or damaged: it is pulled
                image = None
        if image is None:
            try:
                with open(_record(store, name, platform), "rb") as file:
                    table = parse_json(file.read(), name)
                top = Descriptor.from_json(table["manifest"], name)
                image = self._mended(store, name, top, lambda: stored_image(store, top, name))
            except (FileNotFoundError, ImageError, KeyError):  # not pulled yet, or pruned
                return None
        return image if all(os.path.exists(blob.path) for blob in image.blobs) else None


def pull_image(
    store: Store,
    name: str,
    platform: str,
    *,
    named: bool,
    progress: Progress,
    verified: bool = True,
) -> Image:
    """Bring an image from its registry, under its name if it is to be `named`.

    Unless `verified`, the registry may show any certificate, or none. Raises NetworkError,
    BuildError, DiskError, UsageError.
    """
    from buildkit.transferring import first_answer, transferred

    places = places_of(name)
    if not verified:
        places = unverified(places)
    shown = places[0] if len(set(map(str, places))) == 1 else name

    def fetch(report: Report) -> tuple[str, Descriptor, tuple[Digest, ...]]:
        return first_answer(places, lambda at: _fetch(store, at, platform, report))

    top, manifest, damaged = transferred(
        progress, f"[internal] pull {shown}", fetch, lambda found: found[0]
    )
    for digest in damaged:
        progress.note(
            f"pybuild: warning: {name}: {digest} was damaged in the store: it was fetched again"
        )
    table = {"top": str(top), "manifest": manifest.to_json()}
    try:
        write_atomically(_record(store, name, platform), json.dumps(table).encode())
        if named:
            record = json.dumps(manifest.to_json()).encode()
            write_atomically(store.image_name(name), record)
    except OSError as error:
        raise DiskError(f"{error.filename or store.root}: {error.strerror}") from error
    return stored_image(store, manifest, name)


def push_names(store: Store, names: tuple[str, ...], kind: str, *, before: int = 0) -> None:
    """Push images of the store to the registries that their names say, shown by a view of a kind.

    `before` is the number of the last step that was shown. Raises NetworkError, BuildError,
    UsageError.
    """
    with Progress(kind, len(names), before=before, doing="Pushing") as progress:
        for name in names:
            push_image(store, name, name, progress=progress)


def push_image(
    store: Store,
    name: str,
    destination: str,
    *,
    progress: Progress,
    verified: bool = True,
    compression: Compression | None = None,
) -> Digest:
    """Push what a name in the store stands for, its layers compressed in another way if asked for.

    Returns the digest of what is pushed, raises as `push_names`.
    """
    from buildkit.transferring import transferred

    reference = read_reference(destination)
    try:
        descriptor = named_descriptor(store, name)
    except FileNotFoundError:
        raise BuildError(
            f"{name}: no image of that name in {store.root}", hint="pybuild images lists them"
        ) from None
    except ImageError as error:
        raise BuildError(error.message, hint=error.hint) from error

    def send(report: Report) -> Digest:
        from runtime.registry.registries_conf import read_registries_conf

        places = read_registries_conf().endpoints(reference, pulling=False)
        if compression is not None:
            sent = _compressed(store, name, descriptor, compression)
        else:
            sent = descriptor
        _send(store, sent, places if verified else unverified(places), report)
        return sent.digest

    return transferred(progress, f"[internal] push {reference}", send, str)


def _compressed(store: Store, name: str, descriptor: Descriptor, how: Compression) -> Descriptor:
    """The same image with such layers, which is in the store too."""
    from buildkit.holdings import stored_holding
    from buildkit.loading import keep_documents
    from buildkit.saving import recompressed

    try:
        holding = recompressed(store, stored_holding(store, descriptor, name), how)
        keep_documents(store, (holding,))
    except OSError as error:
        raise DiskError(f"{error.filename or store.root}: {error.strerror}") from error
    return holding.descriptor


def read_reference(name: str) -> Reference:
    """A name of a registry's; raises UsageError."""
    try:
        return parse_reference(name)
    except NameProblem as error:
        raise UsageError(error.message, hint=error.hint) from error


def _remembered(store: Store, name: str, platform: str) -> str:
    """The digest that a name had in its registry when it was pulled; empty if it was not."""
    try:
        with open(_record(store, name, platform), "rb") as file:
            return str(parse_json(file.read(), name)["top"])
    except (FileNotFoundError, ImageError, KeyError):
        return ""


def _record(store: Store, name: str, platform: str) -> str:
    key = digest_of(f"{name}\n{platform}".encode("utf-8", "surrogateescape"))
    return f"{store.root}/cache/pull-{key.hex}"


def places_of(name: str) -> tuple[Reference, ...]:
    """Where an image may be, as registries.conf says; raises UsageError, NetworkError."""
    from runtime.registry.registries_conf import read_registries_conf

    try:
        conf = read_registries_conf()
        meanings = conf.meanings(name)
        return tuple(at for one in meanings for at in conf.endpoints(one, pulling=True))
    except NameProblem as error:
        raise UsageError(error.message, hint=error.hint) from error
    except RegistryError as error:
        raise NetworkError(error.message, hint=error.hint) from error


def _stands_for(reference: Reference) -> str:
    from runtime.registry.manifests import resolve

    return str(resolve(reference).digest)


def _fetch(
    store: Store, reference: Reference, platform: str, report: Report
) -> tuple[str, Descriptor, tuple[Digest, ...]]:
    """What the name stands for there, its manifest, and what was damaged here."""
    from runtime.registry.manifests import resolve
    from runtime.registry.pull import pull

    top = resolve(reference).digest
    damaged: list[Digest] = []
    found = pull(store, reference.at(top), platform, count=report, damaged=damaged.append)
    return str(top), found, tuple(damaged)


def _send(
    store: Store, descriptor: Descriptor, places: tuple[Reference, ...], report: Report
) -> None:
    from buildkit.transferring import first_answer
    from runtime.registry import origins
    from runtime.registry.push import in_store, push

    def send(at: Reference) -> None:
        near = origins.neighbours(store, at)
        blobs = push(descriptor, in_store(store), at, count=report, mount_from=near)
        origins.remember(store, at, blobs)

    first_answer(places, send)
