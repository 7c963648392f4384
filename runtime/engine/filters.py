"""Which containers `--filter` lets through: of one key any value, of labels all."""

from __future__ import annotations

import re

from runtime.engine.containers import CREATED, EXITED, PAUSED, RUNNING
from runtime.engine.health import HEALTHY, NONE, STARTING, UNHEALTHY, health_of
from runtime.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from runtime.engine.containers import Seen

_HEALTH = (STARTING, HEALTHY, UNHEALTHY, NONE)
_STATUSES = (CREATED, RUNNING, PAUSED, EXITED)


class Filters:
    """What `--filter KEY=VALUE` says, as often as it is given."""

    def __init__(self, texts: tuple[str, ...]) -> None:
        """Raises UsageError for a filter that is not known."""
        self._wanted: dict[str, list[str]] = {}
        for text in texts:
            key, equals, value = text.partition("=")
            if key not in _TESTS or not equals:
                raise UsageError(f"--filter {text!r}: {'=, '.join(_TESTS)}= expected")
            if key == "status" and value not in _STATUSES:
                raise UsageError(f"--filter {text!r}: {', '.join(_STATUSES)} expected")
            if key == "health" and value not in _HEALTH:
                raise UsageError(f"--filter {text!r}: {', '.join(_HEALTH)} expected")
            if key == "exited" and not value.isdigit():
                raise UsageError(f"--filter {text!r}: an exit status expected")
            if key == "name":
                try:
                    re.compile(value)
                except re.error as error:
                    raise UsageError(f"--filter {text!r}: {error}") from None
            self._wanted.setdefault(key, []).append(value)

    @property
    def names_status(self) -> bool:
        """Whether it is said if those that do not run are meant."""
        return bool(self._wanted.keys() & {"status", "exited"})

    def let(self, seen: Seen) -> bool:
        """Whether a container is meant."""
        return all(
            (all if key == "label" else any)(_TESTS[key](seen, value) for value in values)
            for key, values in self._wanted.items()
        )


def has_label(labels: tuple[tuple[str, str], ...], text: str) -> bool:
    """Whether `NAME` or `NAME=VALUE` is among labels."""
    name, equals, value = text.partition("=")
    found = dict(labels)
    return name in found and (not equals or found[name] == value)


def _is_of_image(seen: Seen, text: str) -> bool:
    record = seen.record
    digest = str((record.descriptor or {}).get("digest", ""))
    names = {record.image, record.image.rpartition("/")[2], record.image.rpartition(":")[0]}
    return text in names | {digest} or (
        len(text) >= 12 and digest.removeprefix("sha256:").startswith(text)
    )


_TESTS: dict[str, Callable[[Seen, str], bool]] = {
    "name": lambda seen, value: re.search(value, seen.record.name) is not None,
    "id": lambda seen, value: seen.record.id.startswith(value),
    "status": lambda seen, value: seen.status == value,
    "label": lambda seen, value: has_label(seen.record.labels, value),
    "ancestor": _is_of_image,
    "health": lambda seen, value: (health_of(seen) or NONE) == value,
    "exited": lambda seen, value: seen.exit is not None and seen.exit.status == int(value),
}
