"""The filters that most tests here look at."""

from __future__ import annotations

import ctypes
import functools

import pytest

from runtime.oci.seccomp import Seccomp
from runtime.sandbox.capabilities import RUN_DEFAULT
from runtime.seccomp.compile import compile_filter
from runtime.seccomp.load import filter_for


@pytest.fixture(scope="session")
def run_filter() -> bytes:
    """The filter of an ordinary container."""
    return filter_for(None, RUN_DEFAULT, cache=None)


@pytest.fixture(scope="session")
def allow_all() -> bytes:
    """A filter that refuses nothing that this machine calls its own."""
    return compile_filter(Seccomp(default_action="SCMP_ACT_ALLOW"))


@functools.cache
def _library_is_missing() -> str:
    try:
        ctypes.CDLL("libseccomp.so.2")
    except OSError as error:
        return str(error)
    return ""


@pytest.fixture(autouse=True)
def _libseccomp(request: pytest.FixtureRequest) -> None:
    """What is shipped works without the library; nearly all tests compare it with something."""
    if request.path.name != "test_programs.py" and (reason := _library_is_missing()):
        pytest.skip(reason)
