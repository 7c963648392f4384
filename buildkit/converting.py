"""What `pybuild convert` and `save` write: found, and given the form that is asked for."""

from __future__ import annotations

from buildkit.compressing import read_compression
from buildkit.errors import BuildError
from buildkit.holdings import Holding, archive_holdings, holding_of, named_holding
from buildkit.loading import load
from buildkit.outputs import DOCKER
from buildkit.saving import docker_part, recompressed
from runtime.errors import ImageError
from runtime.image.index import check_platform
from runtime.image.members import open_members
from runtime.image.names import means
from runtime.image.source import find_archive
from runtime.oci.platform import served_by, this_platform
from runtime.store.workspace import Workspace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from buildkit.outputs import Output
    from runtime.store.store import Store


def source_holdings(
    store: Store, source: str, platform: str, warn: Callable[[str], None]
) -> tuple[Holding, ...]:
    """All images of an archive or a layout, or that of a name; raises ImageError, BuildError.

    `ARCHIVE:NAME` is one of several. `platform` leaves only the images for that one.
    """
    path, reference = find_archive(store, source)
    if path:
        members = open_members(path, room=f"{store.root}/tmp")
        holdings = archive_holdings(members, warn)
        if reference:
            holdings = tuple(h for h in holdings if _is_called(h, reference))
            if not holdings:
                raise ImageError(f"{path}: nothing is called {reference}")
    else:
        holdings = (named_holding(store, source),)
    if platform:
        holdings = tuple(_for_platform(holding, platform, source) for holding in holdings)
    return holdings


def _is_called(holding: Holding, reference: str) -> bool:
    named = any(means(reference, name) for name in holding.names)
    return named or reference == holding.descriptor.digest


def _for_platform(holding: Holding, platform: str, source: str) -> Holding:
    for wanted in served_by(platform):
        for part in holding.parts:
            if part.image.platform == wanted:
                return holding_of(holding.names, (part,), as_index=False)
    if len(holding.parts) == 1:
        check_platform(holding.parts[0].image.platform, platform, source)
        return holding  # it does not say what it is for
    raise ImageError(f"{source}: no image for {platform}, only for {_platforms(holding)}")


def _platforms(holding: Holding) -> str:
    names = {part.image.platform or "an unnamed platform" for part in holding.parts}
    return ", ".join(sorted(names))


def one_holding(holdings: tuple[Holding, ...], source: str) -> Holding:
    """The only image of a source; raises BuildError if there are several."""
    if len(holdings) > 1:
        names = ", ".join((*h.names, str(h.descriptor.digest))[0] for h in holdings)
        raise BuildError(
            f"{source}: holds several images: {names}",
            hint="SOURCE:NAME takes one of them, by its name or its tag",
        )
    return holdings[0]


def shaped_holdings(
    store: Store, holdings: tuple[Holding, ...], output: Output
) -> tuple[Holding, ...]:
    """Images with layers of the compression that an output asks for, as docker's archives with
    plain layers of one platform each; raises BuildError, ImageError, StoreError, OSError.
    """
    words = output.compression
    if output.kind == DOCKER:
        holdings = tuple(map(for_one_platform, holdings))
        words = "none"
    if not words:
        return holdings
    how = read_compression(words)
    if how.kind != "none":
        holdings = in_store(store, holdings)
    return tuple(recompressed(store, holding, how) for holding in holdings)


def for_one_platform(holding: Holding) -> Holding:
    """The image for this machine, or the only one; raises BuildError."""
    part = docker_part(holding)
    here = this_platform()
    if len(holding.parts) > 1 and part.image.platform != here:
        raise BuildError(
            f"{(*holding.names, part.image.name)[0]}: no image for {here}, "
            f"only for {_platforms(holding)}",
            hint="pybuild convert --platform says which",
        )
    return holding_of(holding.names, (part,), as_index=False)


def in_store(store: Store, holdings: tuple[Holding, ...]) -> tuple[Holding, ...]:
    """The same images, in the store without a name."""
    with Workspace(store) as work:
        held = load(store, work, tuple(holding.replace(names=()) for holding in holdings))
    return tuple(h.replace(names=old.names) for h, old in zip(held, holdings, strict=True))
