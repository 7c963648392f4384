"""Images of registries: pulled when they are needed, pushed when they are made.

What a name led to for a platform is written down, so that the next build asks nobody. Who talks to
a registry is a child: its threads must not be there when steps are forked.
"""

from __future__ import annotations

import json
import os

from buildkit.errors import BuildError, DiskError, NetworkError, UsageError
from buildkit.printing import complain
from buildkit.processes import call_in_child
from runtime.errors import ImageError, PyrunError, RegistryError, StoreError
from runtime.errors import UsageError as NameProblem
from runtime.image.archive import Image
from runtime.image.source import named_descriptor, named_image, stored_image
from runtime.oci.digest import Digest, digest_of
from runtime.oci.image import Descriptor
from runtime.oci.reader import parse_json
from runtime.record import Record
from runtime.registry.reference import Reference, parse_reference
from runtime.registry.registries_conf import read_registries_conf
from runtime.store.store import Store, write_atomically

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    _T = TypeVar("_T")

ALWAYS, MISSING, NEVER, NEWER = "always", "missing", "never", "newer"


class Puller(Record):
    """How images come from registries."""

    policy: str = MISSING
    quiet: bool = False

    @property
    def asks_first(self) -> bool:
        """Whether a registry is asked although the store has a name."""
        return self.policy in (ALWAYS, NEWER)

    def find(self, store: Store, name: str, platform: str) -> Image:
        """The image of a name, as the policy has it: the store's or the registry's.

        Raises BuildError, NetworkError, DiskError, UsageError.
        """
        known = _known(store, name, platform)
        if self.policy == NEVER or (self.policy == MISSING and known is not None):
            if known is None:
                raise BuildError(
                    f"no image {name!r} in the store, and --pull=never asks no registry"
                )
            return known
        if self.policy == NEWER and known is not None:
            places = places_of(name)
            try:
                found = in_child(lambda: first_answer(places, _stands_for))
                if found == _remembered(store, name, platform):
                    return known
            except NetworkError as error:
                if not self.quiet:
                    complain(f"pybuild: warning: what the store has is taken: {error.message}")
                return known
        # The name itself stands for this machine's image.
        return pull_image(store, name, platform, named=not platform, quiet=self.quiet)


def pull_image(store: Store, name: str, platform: str, *, named: bool, quiet: bool) -> Image:
    """Bring an image from its registry, under its name if it is to be `named`.

    Raises NetworkError, BuildError, DiskError, UsageError.
    """
    places = places_of(name)
    if not quiet:
        complain(f"pulling {places[0] if len(places) == 1 else name}")
    top, manifest = in_child(lambda: first_answer(places, lambda at: _fetch(store, at, platform)))
    table = {"top": str(top), "manifest": manifest.to_json()}
    try:
        write_atomically(_record(store, name, platform), json.dumps(table).encode())
        if named:
            record = json.dumps(manifest.to_json()).encode()
            write_atomically(store.image_name(name), record)
    except OSError as error:
        raise DiskError(f"{error.filename or store.root}: {error.strerror}") from error
    return stored_image(store, manifest, name)


def push_names(store: Store, names: tuple[str, ...], *, quiet: bool) -> None:
    """Push images of the store to the registries that their names say.

    Raises NetworkError, BuildError, UsageError.
    """
    for name in names:
        push_image(store, name, name, quiet=quiet)


def push_image(store: Store, name: str, destination: str, *, quiet: bool) -> Digest:
    """Push what a name in the store stands for; returns its digest, raises as `push_names`."""
    reference = read_reference(destination)
    try:
        descriptor = named_descriptor(store, name)
    except FileNotFoundError:
        raise BuildError(
            f"{name}: no image of that name in {store.root}", hint="pybuild images lists them"
        ) from None
    except ImageError as error:
        raise BuildError(error.message, hint=error.hint) from error
    if not quiet:
        complain(f"pushing {reference}")

    in_child(lambda: _send(store, descriptor, reference))
    if not quiet:
        complain(f"{reference}: {descriptor.digest}")
    return descriptor.digest


def read_reference(name: str) -> Reference:
    """A name of a registry's; raises UsageError."""
    try:
        return parse_reference(name)
    except NameProblem as error:
        raise UsageError(error.message, hint=error.hint) from error


def _known(store: Store, name: str, platform: str) -> Image | None:
    """The image that the store has for a name and a platform; None if it has none, or not all."""
    image = None
    if os.path.exists(store.image_name(name)):
        try:
            image = named_image(store, name, platform)
        except ImageError:  # of another platform, or damaged: it is pulled
            image = None
    if image is None:
        try:
            with open(_record(store, name, platform), "rb") as file:
                table = parse_json(file.read(), name)
            image = stored_image(store, Descriptor.from_json(table["manifest"], name), name)
        except (FileNotFoundError, ImageError, KeyError):  # not pulled yet, or pruned meanwhile
            return None
    is_whole = all(os.path.exists(blob.path) for blob in image.blobs)
    return image if is_whole else None


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
    try:
        conf = read_registries_conf()
        meanings = conf.meanings(name)
        return tuple(at for one in meanings for at in conf.endpoints(one, pulling=True))
    except NameProblem as error:
        raise UsageError(error.message, hint=error.hint) from error
    except RegistryError as error:
        raise NetworkError(error.message, hint=error.hint) from error


def first_answer(places: tuple[Reference, ...], ask: Callable[[Reference], _T]) -> _T:
    """The first answer; if there is none, the last place's error, with those of the others."""
    problems = []
    for place in places:
        try:
            return ask(place)
        except RegistryError as error:
            problems.append(error)
    message = "; ".join(dict.fromkeys(problem.message for problem in problems))
    raise RegistryError(message, hint=problems[-1].hint) from problems[-1]


def _stands_for(reference: Reference) -> str:
    from runtime.registry.manifests import resolve

    return str(resolve(reference).digest)


def _fetch(store: Store, reference: Reference, platform: str) -> tuple[str, Descriptor]:
    from runtime.registry.manifests import resolve
    from runtime.registry.pull import pull

    top = resolve(reference).digest
    return str(top), pull(store, reference.at(top), platform)


def _send(store: Store, descriptor: Descriptor, reference: Reference) -> None:
    from runtime.registry import origins
    from runtime.registry.push import in_store, push

    def send(at: Reference) -> None:
        near = origins.neighbours(store, at)
        blobs = push(descriptor, in_store(store), at, mount_from=near)
        origins.remember(store, at, blobs)

    first_answer(read_registries_conf().endpoints(reference, pulling=False), send)


def in_child(work: Callable[[], _T]) -> _T:
    """Do it in a child, whose threads end with it; raises errors of ours."""

    def safely() -> _T:
        try:
            return work()
        except RegistryError as error:
            raise NetworkError(error.message, hint=error.hint) from error
        except StoreError as error:
            raise DiskError(error.message, hint=error.hint) from error
        except PyrunError as error:
            raise BuildError(error.message, hint=error.hint) from error

    return call_in_child(safely)
