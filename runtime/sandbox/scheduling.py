"""Scheduler and I/O priority of a process (sched(7), ioprio_set(2)); config.md "Linux Process"."""

from __future__ import annotations

import os
import struct

from runtime.errors import ContainerError
from runtime.sandbox import syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runtime.oci.spec import IOPriority, Process, Scheduler

# include/uapi/linux/sched.h
_POLICIES = {
    "SCHED_OTHER": 0, "SCHED_FIFO": 1, "SCHED_RR": 2, "SCHED_BATCH": 3, "SCHED_ISO": 4,
    "SCHED_IDLE": 5, "SCHED_DEADLINE": 6,
}  # fmt: skip
_FLAGS = {
    "SCHED_FLAG_RESET_ON_FORK": 0x01, "SCHED_FLAG_RECLAIM": 0x02, "SCHED_FLAG_DL_OVERRUN": 0x04,
    "SCHED_FLAG_KEEP_POLICY": 0x08, "SCHED_FLAG_KEEP_PARAMS": 0x10,
    "SCHED_FLAG_UTIL_CLAMP_MIN": 0x20, "SCHED_FLAG_UTIL_CLAMP_MAX": 0x40,
}  # fmt: skip
_CLASSES = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}  # linux/ioprio.h


def set_scheduling(pid: int, process: Process) -> None:
    """Set what the process asks for; raises ContainerError that names the field."""
    if process.scheduler is not None:
        try:
            syscalls.sched_setattr(pid, attributes(process.scheduler))
        except OSError as error:
            reason = os.strerror(error.errno or 0)
            message = f"process.scheduler: {process.scheduler.policy}: {reason}"
            raise ContainerError(message) from error
    if process.io_priority is not None:
        try:
            syscalls.ioprio_set(pid, io_priority_number(process.io_priority))
        except OSError as error:
            reason = os.strerror(error.errno or 0)
            message = f"process.ioPriority: {process.io_priority.io_class}: {reason}"
            raise ContainerError(message) from error


def attributes(scheduler: Scheduler) -> bytes:
    """A struct sched_attr (sched_setattr(2), the first version: 48 bytes)."""
    flags = sum(_FLAGS[name] for name in scheduler.flags)
    return struct.pack(
        "=IIQiIQQQ",
        48,
        _POLICIES[scheduler.policy],
        flags,
        scheduler.nice,
        scheduler.priority,
        scheduler.runtime,
        scheduler.deadline,
        scheduler.period,
    )


def io_priority_number(priority: IOPriority) -> int:
    """The number that ioprio_set(2) takes."""
    return _CLASSES[priority.io_class] << 13 | priority.priority
