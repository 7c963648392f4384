"""`features`: what this runtime can do (runtime-spec features.md)."""

from __future__ import annotations

import os

from runtime import VERSION
from runtime.oci.spec import VERSION as SPEC_VERSION
from runtime.sandbox.capabilities import NAMES
from runtime.sandbox.mount_options import known_options
from runtime.sandbox.namespaces import FLAGS


def features() -> dict[str, object]:
    """The document; what depends on the machine was looked at now."""
    from runtime.cgroup.layout import find_layout
    from runtime.lifecycle.create import (
        IMAGE_ANNOTATION,
        INIT_ANNOTATION,
        LANDLOCK_ANNOTATION,
        STORE_ANNOTATION,
    )
    from runtime.sandbox import landlock
    from runtime.seccomp import constants as seccomp

    layout = find_layout()
    versions = {hierarchy.version for hierarchy in layout.hierarchies}
    return {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": SPEC_VERSION,
        "hooks": [
            *("prestart", "createRuntime", "createContainer"),
            *("startContainer", "poststart", "poststop"),
        ],
        "mountOptions": sorted(known_options()),
        "linux": {
            "namespaces": sorted(FLAGS),
            "capabilities": [f"CAP_{name}" for name in NAMES],
            "cgroup": {
                "v1": 1 in versions,
                "v2": 2 in versions,
                "systemd": False,
                "systemdUser": False,
                "rdma": True,
            },
            "seccomp": {
                "enabled": os.path.exists("/proc/sys/kernel/seccomp/actions_avail"),
                "actions": list(seccomp.supported_actions()),
                "operators": list(seccomp.supported_operators()),
                "archs": list(seccomp.supported_architectures()),
                "supportedFlags": list(seccomp.supported_flags()),
            },
            "apparmor": {"enabled": False},
            "selinux": {"enabled": False},
            "intelRdt": {"enabled": False},
            "mountExtensions": {"idmap": {"enabled": True}},
        },
        "annotations": {
            "org.pybuild.version": VERSION,
            "org.pybuild.landlock.abi": str(landlock.abi_version()),
        },
        "potentiallyUnsafeConfigAnnotations": [
            IMAGE_ANNOTATION,
            INIT_ANNOTATION,
            LANDLOCK_ANNOTATION,
            STORE_ANNOTATION,
        ],
    }
