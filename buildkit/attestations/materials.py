"""What an image was made from, as resource descriptors (in-toto spec/v1/resource_descriptor.md).

All of it is known also where every step was found in the cache: a step's inputs are found before
it is looked for, and the packages of a BOOTSTRAP are in its record. What a RUN fetches on its own
is known to nobody.
"""

from __future__ import annotations

import json
import os
import re

from buildkit.adding import AddedDownload, AddedTree
from buildkit.attestations.options import MAX
from buildkit.attestations.statement import image_url
from buildkit.documents import to_json
from buildkit.sbom.package import DEB
from buildkit.sbom.purl import package_url
from buildkit.steps import ConfigureStep, CopyStep, ImageBase, StageBase, origins_of
from runtime.image.archive import Image
from runtime.image.source import LAYOUT
from runtime.oci.digest import digest_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from buildkit.inputs import Input
    from buildkit.outcomes import DoneStep
    from buildkit.planning import Planned
    from buildkit.request import Request
    from buildkit.steps import Base, Plan, PlannedStage

    Resource = dict[str, object]

# No algorithm of in-toto's digest sets: it is of a document that says what was taken, and how.
_CONTEXT_DIGEST = "pybuildContext"
_SCP = re.compile(r"([^/:]+@[^/:]+):(.*)", re.DOTALL)  # git's USER@HOST:PATH


def materials_of(
    target: PlannedStage, request: Request, planned: Planned, done: Sequence[DoneStep]
) -> list[Resource]:
    """What went into a target, through all stages that it needs; sorted, each once."""
    bases = _reached(planned.plan, target)
    steps = [one for one in done if one.stage in bases]
    images = [(base, planned.images[base]) for base in bases if isinstance(base, ImageBase)]
    # Another target of the same bake has a provenance of its own.
    found = [_image(base, image) for base, image in images if isinstance(image, Image)]
    for one in steps:
        found += _fetched(one, request)
        found += [_package(*package) for package in one.result.packages or ()]
    inputs = [item for one in steps for item in one.prepared.inputs]
    found += _contexts(inputs, request)
    text = {"sha256": digest_of(request.text).hex}
    found.append({"name": containerfile_of(request), "digest": text})
    return _sorted(found)


def containerfile_of(request: Request) -> str:
    """What the Containerfile is called in the context; elsewhere its name alone."""
    if not os.path.exists(request.name):
        return "-"  # standard input
    path = os.path.realpath(request.name)
    inside = os.path.relpath(path, request.context)
    return os.path.basename(path) if inside.startswith("../") else inside


def _sorted(resources: Sequence[Resource]) -> list[Resource]:
    found = {to_json(resource): resource for resource in resources}
    return [found[text] for text in sorted(found)]


def _reached(plan: Plan, target: PlannedStage) -> set[Base]:
    """The stages and images that lead to a target, and itself."""
    stages = {stage.id: stage for stage in plan.stages}
    found: set[Base] = set()
    waiting: list[Base] = [target.id]
    while waiting:
        base = waiting.pop()
        if base in found:
            continue
        found.add(base)
        if isinstance(base, StageBase):
            stage = stages[base]
            waiting.append(stage.base)
            for step in stage.steps:
                if not isinstance(step, ConfigureStep):
                    waiting += [origin for origin, _ in origins_of(step) if origin is not None]
    return found


def _image(base: ImageBase, image: Image) -> Resource:
    digest = {"sha256": image.digest.hex}
    if not (os.path.isabs(image.name) or image.name.startswith(LAYOUT)):
        return {"uri": image_url(base.name, image.platform), "digest": digest}
    # A file. Where it is on this machine is nobody's business.
    name = base.name.removeprefix(LAYOUT)
    return {"name": os.path.basename(name) if os.path.isabs(name) else name, "digest": digest}


def _fetched(done: DoneStep, request: Request) -> Iterator[Resource]:
    """What an ADD took from elsewhere.

    An address that holds the value of a build argument is left out, unless all values are said.
    """
    sources = done.step.sources if isinstance(done.step, CopyStep) else ()
    words = [source.path for source in sources if source.remote is not None]
    fetched = [a for a in done.prepared.added if isinstance(a, AddedDownload | AddedTree)]
    hides = request.attestations.provenance != MAX
    for word, added in zip(words, fetched, strict=True):
        found = _download(added) if isinstance(added, AddedDownload) else _commit(added)
        if hides and any(value and value in word for value in request.build_args.values()):
            del found["uri"]
        yield found


def _download(added: AddedDownload) -> Resource:
    return {"uri": added.shown, "digest": {"sha256": os.path.basename(added.place)}}


def _commit(added: AddedTree) -> Resource:
    from buildkit.git_source import shown

    url = _SCP.sub(r"ssh://\1/\2", shown(added.tree.url))
    ref = added.commit.ref or added.tree.ref
    uri = f"git+{url}@{ref}" if ref else f"git+{url}"
    return {"uri": uri, "digest": {"gitCommit": added.commit.id}}


def _package(kind: str, identity: str, sha256: str) -> Resource:
    """A package of a BOOTSTRAP; of which distribution it is, is not known."""
    if kind == DEB:
        name, version, arch = identity.split("_")
        epoch = ""
    else:
        name, version, rest = identity.rsplit("-", 2)
        release, _, arch = rest.rpartition(".")
        epoch, _, version = version.rpartition(":")
        version = f"{version}-{release}"
    qualifiers = {"arch": arch, "epoch": "" if epoch == "0" else epoch}
    return {
        "uri": package_url(kind, "", name, version, qualifiers),
        "digest": {"sha256": sha256},
    }


def _contexts(inputs: Sequence[Input], request: Request) -> Iterator[Resource]:
    """What was taken from each build context: of a whole one nothing is known."""
    for name, directory in _directories(request).items():
        taken = [_taken(item, directory) for item in inputs]
        listed = sorted({to_json(item) for item in taken if item is not None})
        if not listed:
            continue
        document = b"[" + b",".join(listed) + b"]"
        resource: Resource = {
            "name": name,
            "digest": {_CONTEXT_DIGEST: digest_of(document).hex},
        }
        if request.attestations.provenance == MAX:
            resource["annotations"] = {"taken": json.loads(document.decode("utf-8", "replace"))}
        yield resource


def _directories(request: Request) -> dict[str, str]:
    named = {f"context:{name}": it.directory for name, it in sorted(request.contexts.items())}
    found: dict[str, str] = {}
    for name, directory in ({"context": request.context} | named).items():
        if directory and directory not in found.values():
            found[name] = directory
    return found


def _taken(item: Input, directory: str) -> dict[str, object] | None:
    """What an input took from a context, by its paths there; None if it is of something else."""
    kind = item[0]
    if kind == "context" and item[1] == directory:
        _, _, patterns, _, exclude, parents, named = item
        table: dict[str, object] = {"sources": list(patterns), "digests": dict(named)}
        if exclude:
            table["exclude"] = list(exclude)
        if parents:
            table["parents"] = True
        return table
    if kind in ("file", "package") and item[1].startswith(f"{directory}/"):
        inside = os.path.relpath(item[1], directory)
        return {"sources": [inside], "sha256": item[2].removeprefix("sha256:")}
    return None
