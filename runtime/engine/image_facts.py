"""What a container's record has of its image beside what its start needs.

It is read by a process of its own: what reading takes would stay with the container's monitor, as
long as the container lives.
"""

from __future__ import annotations

import os

from runtime.oci.json_text import to_text
from runtime.oci.reader import parse_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from runtime.store.store import Store


def image_facts(
    store: Store, name: str, platform: str, *, archive: bool, healthcheck: bool
) -> Mapping[str, Any]:
    """`descriptor` of a named image's manifest, and `healthcheck` of its configuration.

    Either is None if it is not asked for, or not there. Raises ImageError.
    """
    if archive and not healthcheck:
        return {"descriptor": None, "healthcheck": None}
    answer_read, answer_write = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            found = _read(store, name, platform, archive=archive, healthcheck=healthcheck)
            with open(answer_write, "wb") as file:
                file.write(to_text(found).encode("utf-8", "surrogateescape"))
            status = 0
        finally:
            os._exit(status)  # the caller meets the same error, and says it
    os.close(answer_write)
    with open(answer_read, "rb") as file:
        answer = file.read()
    if os.waitpid(pid, 0)[1]:
        return _read(store, name, platform, archive=archive, healthcheck=healthcheck)
    return parse_json(answer, name)


def _read(
    store: Store, name: str, platform: str, *, archive: bool, healthcheck: bool
) -> dict[str, Any]:
    from runtime.image.source import named_descriptor, open_image

    descriptor = None if archive else named_descriptor(store, name).to_json()
    check = None
    if healthcheck:
        check = open_image(store, name, platform).config.config.healthcheck
    return {"descriptor": descriptor, "healthcheck": None if check is None else dict(check)}
