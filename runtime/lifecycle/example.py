"""Configurations written for people: `spec`'s example, and the bundle of an image."""

from __future__ import annotations

import os

from runtime.errors import ContainerError
from runtime.oci.spec import VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runtime.oci.spec import Spec


def write_example(bundle: str, *, rootless: bool) -> None:
    """Write an example as BUNDLE/config.json; raises ContainerError if there is one."""
    from runtime.oci.default_spec import example_spec

    spec = example_spec(rootless=rootless, uid=os.geteuid(), gid=os.getegid())
    write_config(spec, os.path.join(bundle, "config.json"))


def write_config(spec: Spec, path: str, *, version: str = VERSION) -> None:
    """Write a new config.json, to be read by people; raises ContainerError if there is one."""
    import json

    from runtime.oci.config_writer import to_json

    try:
        with open(path, "x", encoding="utf-8") as file:
            json.dump(to_json(spec, version=version), file, indent="\t")
            file.write("\n")
    except FileExistsError:
        raise ContainerError(f"{path} exists already", hint="remove it first") from None
    except OSError as error:
        raise ContainerError(f"{path}: {error.strerror}") from error
