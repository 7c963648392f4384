"""The image that an SBOM is of, and the identities that follow from it: no clock, no chance."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

from runtime import VERSION
from runtime.errors import ImageError
from runtime.oci.digest import Digest
from runtime.record import Record

_NO_TIME = "1970-01-01T00:00:00Z"  # an image need not say when it was made


class Subject(Record):
    """An image."""

    name: str  # in the store, or of its file without directories
    digest: Digest  # of its manifest; of its configuration where it has none
    created: str  # RFC 3339, as it says; may be empty
    platform: str

    @property
    def time(self) -> str:
        """When it was made, in UTC to the second; raises ImageError if it does not say a time."""
        if not self.created:
            return _NO_TIME
        try:
            moment = datetime.fromisoformat(self.created)
            if moment.tzinfo is None:
                raise ValueError("no offset")
            return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        except (ValueError, OverflowError) as error:
            message = f"{self.name}: created is {self.created!r}, a time of RFC 3339 expected"
            raise ImageError(message) from error

    def identity(self, kind: str) -> str:
        """A UUID for the document of one kind: another image, name or version has another."""
        words = ("pybuild", VERSION, kind, self.name, self.digest)
        return str(uuid.uuid5(uuid.NAMESPACE_URL, "\n".join(words)))


def utc(seconds: int) -> str:
    """Seconds since 1970 as SPDX writes times."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
