"""Where an image comes from: SLSA provenance, https://slsa.dev/spec/v1.1/provenance.

README.md, "Where it comes from", is the documentation of the build type. There are no times and
no numbers of builds in it: the same inputs give the same bytes.
"""

from __future__ import annotations

from buildkit.attestations.materials import containerfile_of, materials_of
from buildkit.attestations.options import MAX
from buildkit.scope import PROXIES
from buildkit.urls import without_password
from runtime import VERSION
from runtime.oci.platform import this_platform

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from buildkit.outcomes import DoneStep
    from buildkit.planning import Planned
    from buildkit.request import Request
    from buildkit.steps import PlannedStage

PROVENANCE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:pybuild:containerfile:v1"
BUILDER = "urn:pybuild:builder"


def provenance(
    target: PlannedStage, request: Request, planned: Planned, done: Sequence[DoneStep]
) -> dict[str, object]:
    """The predicate for one platform."""
    asked = request.attestations
    return {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": _external(target, request),
            "internalParameters": {"builderPlatform": this_platform()},
            "resolvedDependencies": materials_of(target, request, planned, done),
        },
        "runDetails": {
            "builder": {"id": asked.builder or BUILDER, "version": {"pybuild": VERSION}}
        },
    }


def _external(target: PlannedStage, request: Request) -> dict[str, object]:
    arguments = {
        name: without_password(value)
        for name, value in request.build_args.items()
        if name not in PROXIES  # they may say passwords, and change nothing
    }
    parameters: dict[str, object] = {
        "containerfile": containerfile_of(request),
        "platform": target.platform,
    }
    if request.target is not None:
        parameters["target"] = request.target
    if request.attestations.provenance != MAX:
        if arguments:
            parameters["buildArgumentNames"] = sorted(arguments)
        return parameters
    shape = request.shape
    more: dict[str, object] = {
        "containerfileText": request.text.decode("utf-8", "replace"),
        "buildArguments": arguments,
        "labels": dict(shape.labels),
        "annotations": dict(shape.annotations),
        "squash": shape.squash,
        "sourceDateEpoch": "" if request.epoch is None else str(request.epoch),
        "secrets": sorted(request.supplies.secrets),
        "ssh": sorted(request.supplies.agents),
    }
    return parameters | {name: value for name, value in more.items() if value}
