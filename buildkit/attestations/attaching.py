"""The attestations of what a build made, for its images as they are in each place.

What they are made from is found before anything is written, so that nothing is written without
its attestations.
"""

from __future__ import annotations

from buildkit.attestations.provenance import PROVENANCE, provenance
from buildkit.attestations.statement import Statement, attestation_manifest
from buildkit.documents import Documents

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from buildkit.outcomes import DoneStep
    from buildkit.planning import Planned
    from buildkit.request import Request
    from buildkit.sbom.of_build import Sboms
    from runtime.store.store import Store

SPDX = "https://spdx.dev/Document"


class Attester:
    """Makes the attestation manifests of a build."""

    def __init__(
        self,
        store: Store,
        request: Request,
        sboms: Sboms | None,
        planned: Planned,
        done: Sequence[DoneStep],
    ) -> None:
        self._store, self._request, self._sboms = store, request, sboms
        self._provenance = [
            provenance(target, request, planned, done)
            for target in (planned.plan.targets if request.attestations.provenance else ())
        ]

    def manifests(self, images: Sequence[Documents]) -> tuple[Documents, ...]:
        """One for each image, in that order; raises ImageError, OSError."""
        return tuple(
            attestation_manifest(
                self._store, image, self._request.tags, self._statements(number, image)
            )
            for number, image in enumerate(images)
        )

    def _statements(self, number: int, image: Documents) -> tuple[Statement, ...]:
        statements = []
        if self._request.attestations.sbom:
            assert self._sboms is not None
            predicate = self._sboms.predicate(number, image)
            statements.append(Statement(predicate_type=SPDX, predicate=predicate))
        for predicate in self._provenance[number : number + 1]:
            statements.append(Statement(predicate_type=PROVENANCE, predicate=predicate))
        return tuple(statements)
