"""No program outlives its test, also not one that failed."""

from __future__ import annotations

import pytest

from tests.runtime.stub.support import kill_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _nothing_stays() -> Iterator[None]:
    yield
    kill_all()
