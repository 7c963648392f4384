"""What a word may be once its variables are replaced: one pure function for each kind of value.

`parse` calls these for words without a variable, so their faults are errors of the file. For the
others whoever expands the word calls them: `Containerfile.value(word, environment, parse_mode)`.
Each raises InvalidValue.
"""

from grammar.values.checksums import Checksum, parse_checksum
from grammar.values.gitref import GitReference, is_remote, parse_git_reference
from grammar.values.invalid import InvalidValue
from grammar.values.modes import Mode, OctalMode, SymbolicMode, parse_mode
from grammar.values.mounts import (
    BindMount,
    CacheMount,
    Mount,
    SecretMount,
    SshMount,
    TmpfsMount,
    parse_mount,
)
from grammar.values.names import parse_stage_name
from grammar.values.owners import Owner, parse_owner
from grammar.values.platforms import Platform, parse_platform
from grammar.values.ports import Ports, parse_port, parse_ports
from grammar.values.sandbox import Device, parse_device, parse_network, parse_security
from grammar.values.signals import Signal, parse_signal

__all__ = [
    "BindMount",
    "CacheMount",
    "Checksum",
    "Device",
    "GitReference",
    "InvalidValue",
    "Mode",
    "Mount",
    "OctalMode",
    "Owner",
    "Platform",
    "Ports",
    "SecretMount",
    "Signal",
    "SshMount",
    "SymbolicMode",
    "TmpfsMount",
    "is_remote",
    "parse_checksum",
    "parse_device",
    "parse_git_reference",
    "parse_mode",
    "parse_mount",
    "parse_network",
    "parse_owner",
    "parse_platform",
    "parse_port",
    "parse_ports",
    "parse_security",
    "parse_signal",
    "parse_stage_name",
]
