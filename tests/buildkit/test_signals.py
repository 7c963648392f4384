"""Signals where Python calls their handlers, and an exception goes no further than a message."""

from __future__ import annotations

import subprocess
import sys

import pytest

# What raises is a callback, of a weak reference and of a fork: nobody can catch it there.
PROGRAM = """
import os, signal, time, weakref
from buildkit.errors import Cancelled
from buildkit.processes import stop_on_signals

class Thing:
    pass

def send(*_):
    os.kill(os.getpid(), signal.SIGTERM)

stop_on_signals()
thing = Thing()
reference = weakref.ref(thing, send)
os.register_at_fork(after_in_parent=send)
try:
    {moment}
    time.sleep(30)
except Cancelled as cancelled:
    print(cancelled.signal_number)
"""


@pytest.mark.parametrize(
    "moment", ["del thing", "os.fork() or os._exit(0)"], ids=["collector", "fork"]
)
def test_a_signal_in_a_callback_is_heard_a_little_later(moment: str) -> None:
    argv = [sys.executable, "-c", PROGRAM.format(moment=moment)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("15\n", "", 0)
