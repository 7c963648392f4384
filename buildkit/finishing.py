"""What targets led to becomes images: shaped, attested, named, written."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import chain

from buildkit.builder import Builder
from buildkit.compressing import compressed, read_compression
from buildkit.documents import Product, make_documents, make_product, name_product, name_record
from buildkit.errors import DiskError
from buildkit.export import write_archive
from buildkit.inputs import Input
from buildkit.outcomes import Built
from buildkit.output_check import check_output
from buildkit.outputs import DOCKER, IMAGE, LOCAL, OCI, ROOTFS, TAR, Output
from buildkit.planning import Planned
from buildkit.progress import Progress
from buildkit.recorded import Recorded, archive_status
from buildkit.request import Request
from buildkit.root_output import write_root
from buildkit.shaping import Shape, shaped
from runtime.oci.digest import digest_of
from runtime.store.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from buildkit.attestations.attaching import Attester
    from buildkit.remote_cache.exporting import Export
    from buildkit.sbom.of_build import Sboms


def check_outputs(request: Request) -> None:
    """Find out before a build, not after it, that its result has no place to go to."""
    for output in request.outputs:
        check_output(output, request.platforms)
    for sbom in request.sboms:
        check_output(Output(kind=TAR, dest=sbom.dest), ())
    if request.cache_to:
        from buildkit.remote_cache.exporting import check_targets

        check_targets(request.cache_to)


def finish(
    request: Request,
    store: Store,
    builder: Builder,
    planned: Planned,
    results: Sequence[Built],
    progress: Progress,
) -> tuple[Recorded, tuple[Export, ...]]:
    """Make the image of what was built: its names, and all that is written but caches."""
    try:
        builder.explanations.save()
        exports: tuple[Export, ...] = ()
        if request.cache_to:
            from buildkit.remote_cache.exporting import exports_of, members_of

            how = request.shape.compression
            exports = exports_of(request.cache_to, builder.done, results, builder.caches, how)
            members = members_of(request.cache_to, builder.done, how)
            request = request.replace(shape=request.shape.replace(members=members))
        results = tuple(shaped(store, result, request.shape) for result in results)
        sboms = _sboms(store, results, request, progress)
        attester = _attester(store, request, sboms, planned, builder)
        product = product_of(store, results, request, request.shape, attester)
        name_product(store, product, request.tags)
    except OSError as error:
        raise DiskError(f"{error.filename or store.root}: {error.strerror}") from error
    for output in request.outputs:
        has_place = output.kind in (IMAGE, OCI)
        _write(store, output, results, request, attester if has_place else None)
        lacks = "" if has_place or attester is None else ", without attestations"
        progress.note(f"{output.dest}: written{lacks}")
    if sboms is not None:
        sboms.write(_shape_of)
    elsewhere = (named.ignoring for named in request.contexts.values())
    inputs = (*builder.inputs, *planned.ignoring, *chain.from_iterable(elsewhere))
    return _recorded(request, store, product, inputs, progress), exports


def write_exports(store: Store, exports: Sequence[Export], progress: Progress) -> None:
    """Write the caches that were asked for; raises BuildError with the cache's name."""
    if exports:
        from buildkit.remote_cache.exporting import write_caches

        write_caches(store, exports, progress)


def product_of(
    store: Store,
    results: Sequence[Built],
    request: Request,
    shape: Shape,
    attester: Attester | None = None,
) -> Product:
    images = []
    for result in results:
        layers = (compressed(store, layer, shape.compression) for layer in result.layers)
        images.append(make_documents(result.config, tuple(layers), shape))
    attestations = () if attester is None else attester.manifests(images)
    as_index = len(request.platforms) > 1
    return make_product(tuple(images), attestations, as_index=as_index, docker=shape.docker)


def _write(
    store: Store,
    output: Output,
    results: Sequence[Built],
    request: Request,
    attester: Attester | None,
) -> None:
    if output.kind in (TAR, LOCAL, ROOTFS):
        places = _places(output, request.platforms)
        if len(places) > 1:
            os.makedirs(output.dest, exist_ok=True)
        for result, place in zip(results, places, strict=True):
            write_root(store, result.layers, output.replace(dest=place))
        return
    shape = _shape_of(output, request.shape)
    product = product_of(store, results, request, shape, attester)
    write_archive(store, product, output, request.tags)


def _shape_of(output: Output, shape: Shape) -> Shape:
    """How an image is in an archive."""
    # docker's own archives hold layers as they are.
    how = "none" if output.kind == DOCKER else output.compression
    return shape.replace(compression=read_compression(how, "-o compression")) if how else shape


def _sboms(
    store: Store, results: Sequence[Built], request: Request, progress: Progress
) -> Sboms | None:
    """What is installed in each image, if somebody asks; raises BuildError."""
    if not (request.sboms or request.attestations.sbom):
        return None
    from buildkit.sbom.of_build import Sboms

    return Sboms(store, results, request, progress.note)


def _attester(
    store: Store, request: Request, sboms: Sboms | None, planned: Planned, builder: Builder
) -> Attester | None:
    """What attests, if somebody asks."""
    if not request.attestations.any:
        return None
    from buildkit.attestations.attaching import Attester

    return Attester(store, request, sboms, planned, builder.done)


def _places(output: Output, platforms: tuple[str, ...]) -> tuple[str, ...]:
    """Where root filesystems go: for several platforms each has a directory, as with buildx."""
    if len(platforms) < 2:
        return (output.dest,)
    return tuple(f"{output.dest}/{platform.replace('/', '_')}" for platform in platforms)


def _recorded(
    request: Request,
    store: Store,
    product: Product,
    inputs: tuple[Input, ...],
    progress: Progress,
) -> Recorded:
    descriptors = [product.descriptor]
    for image in product.manifests:
        descriptors += [image.descriptor, image.config_descriptor]
        descriptors += [layer.descriptor for layer in image.layers]
    paths = [(store.blob(d.digest), d.size) for d in descriptors]
    name = str(digest_of(name_record(product)))
    return Recorded(
        inputs=inputs,
        titles=tuple(progress.titles),
        paths=tuple(dict.fromkeys(paths)),
        names=tuple((store.image_name(tag), name) for tag in request.tags),
        digest=str(product.descriptor.digest),
        config_digest=""
        if len(request.platforms) > 1
        else str(product.images[0].config_descriptor.digest),
        manifest=product.descriptor.to_json(),
        archives=tuple(
            archive_status(dest)
            for dest in (
                *(output.dest for output in request.outputs if output.is_file),
                *(sbom.dest for sbom in request.sboms),
            )
        ),
    )
