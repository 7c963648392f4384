"""The numbers that the kernel takes for a scheduler and an I/O priority."""

from __future__ import annotations

import os
import struct
import sys

import pytest

from runtime.errors import ContainerError
from runtime.oci.spec import IOPriority, Process, Scheduler
from runtime.sandbox.scheduling import attributes, io_priority_number, set_scheduling
from tests.support import run


def test_a_scheduler_is_a_struct_sched_attr() -> None:
    made = attributes(
        Scheduler(
            policy="SCHED_DEADLINE",
            nice=-5,
            flags=("SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_UTIL_CLAMP_MAX"),
            runtime=10,
            deadline=20,
            period=1 << 40,
        )
    )
    assert len(made) == 48
    assert struct.unpack("=IIQiIQQQ", made) == (48, 6, 0x41, -5, 0, 10, 20, 1 << 40)


@pytest.mark.parametrize(
    ("io_class", "level", "number"),
    [
        ("IOPRIO_CLASS_RT", 0, 0x2000),
        ("IOPRIO_CLASS_BE", 7, 0x4007),
        ("IOPRIO_CLASS_IDLE", 0, 0x6000),
    ],
)
def test_an_io_priority_is_a_class_and_a_level(io_class: str, level: int, number: int) -> None:
    assert io_priority_number(IOPriority(io_class=io_class, priority=level)) == number


def test_the_kernel_takes_what_is_made() -> None:
    script = (
        "import os; from runtime.oci.spec import *; from runtime.sandbox.scheduling import *; "
        "set_scheduling(0, Process(args=('x',), scheduler=Scheduler(policy='SCHED_BATCH', nice=7),"
        " io_priority=IOPriority(io_class='IOPRIO_CLASS_BE', priority=6))); "
        "print(os.sched_getscheduler(0) == os.SCHED_BATCH, os.getpriority(os.PRIO_PROCESS, 0))"
    )
    done = run([sys.executable, "-c", script])
    assert done.stdout == "True 7\n", done


def test_what_the_kernel_refuses_names_the_field() -> None:
    process = Process(args=("x",), scheduler=Scheduler(policy="SCHED_DEADLINE"))
    with pytest.raises(ContainerError, match=r"^process\.scheduler: SCHED_DEADLINE: Invalid arg"):
        set_scheduling(os.getpid(), process)
