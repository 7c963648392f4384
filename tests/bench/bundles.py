"""Bundles for OCI runtimes: as a runtime's own `spec` has them, and as `pyrun bundle` does."""

from __future__ import annotations

import json
import os

from tests.bench.harness import Options
from tests.bench.peers import CGROUP_PARENT, Place


def own_bundle(here: Place, runtime: str, *, cgroup_mount: bool) -> str:
    """The runtime's own idea of a bundle, with our root, no terminal, and our namespaces."""
    bundle = f"{here.path}/{runtime}-{'cgroup' if cgroup_mount else 'bare'}"
    os.mkdir(bundle)
    os.mkdir(f"{bundle}/rootfs")
    here.call("cp", "--archive", f"{here.rootfs}/.", f"{bundle}/rootfs")
    here.call("sh", "-c", f'cd "$1" && {runtime} spec', "sh", bundle)
    path = f"{bundle}/config.json"
    with open(path, encoding="utf-8") as file:
        spec = json.load(file)
    spec["process"]["terminal"] = False
    spec["process"]["args"] = ["true"]
    spec["root"]["readonly"] = False
    kinds = ("pid", "mount", "uts", "ipc", "network", "cgroup")
    spec["linux"]["namespaces"] = [{"type": kind} for kind in kinds]
    if not cgroup_mount:
        spec["mounts"] = [m for m in spec["mounts"] if m["type"] not in ("cgroup", "cgroup2")]
    with open(path, "w", encoding="utf-8") as file:
        json.dump(spec, file)
    return bundle


def our_bundle(options: Options, here: Place, name: str, *command: str) -> str:
    """What `pyrun bundle` makes of the image `base`: our profile, masks and capabilities."""
    bundle = f"{here.path}/{name}"
    here.call(options.pyrun, "bundle", "base", bundle, *command)
    path = f"{bundle}/config.json"
    with open(path, encoding="utf-8") as file:
        spec = json.load(file)
    # Below the group that is removed in the end; the same limit that `pyrun` sets unasked.
    spec["linux"]["cgroupsPath"] = f"/{CGROUP_PARENT}/{name}"
    spec["linux"]["resources"] = {"pids": {"limit": 2048}}
    with open(path, "w", encoding="utf-8") as file:
        json.dump(spec, file)
    return bundle
