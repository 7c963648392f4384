"""What the attacks of this directory are made with: bundles, `pyrun oci`, programs in C."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
from contextlib import contextmanager
from pathlib import Path

from runtime.oci.config_writer import to_json
from runtime.oci.default_spec import example_spec
from runtime.oci.spec import Capabilities, IDMapping, Namespace
from runtime.sandbox.capabilities import ALL
from tests.support import BUSYBOX, Result, command, environment, make_tree, run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from tests.support import TreeValue

    Config = dict[str, Any]

PROGRAMS = Path(__file__).parent / "programs"
# Where container root is in the tests with a user namespace; nothing on the host belongs to it.
ROOT_OUTSIDE = 1_700_000_000
APPLETS = "sh sleep cat ls true id stat readlink echo grep test env mkdir touch head".split()
BASE: Mapping[str, TreeValue] = {
    "bin/busybox": (BUSYBOX.read_bytes() if BUSYBOX.exists() else b"", 0o755),
    **{f"bin/{name}": Path("busybox") for name in APPLETS},
    **{f"{name}/": None for name in ("proc", "sys", "dev", "tmp", "etc", "root")},
}


def compile_program(name: str, target: Path, *flags: str) -> Path:
    """Compile programs/NAME.c to a program that needs no library of the container's."""
    argv: list[str | Path] = [
        "gcc",
        "-O1",
        "-Wall",
        "-Werror",
        *(flags or ("-static",)),
        "-o",
        target,
    ]
    made = run([*argv, PROGRAMS / f"{name}.c"], env=dict(os.environ))
    assert made.status == 0, made.stderr
    return target


def configuration(*args: str, user_namespace: bool = False, **process: Any) -> Config:
    """A config.json: our example, not on a terminal, on a root that can be written."""
    spec = example_spec(rootless=False, uid=0, gid=0)
    if user_namespace:
        mapping = (IDMapping(container_id=0, host_id=ROOT_OUTSIDE, size=65536),)
        spec = spec.replace(
            namespaces=(*spec.namespaces, Namespace(type="user")),
            uid_mappings=mapping,
            gid_mappings=mapping,
            process=spec.process.replace(capabilities=Capabilities.granted(ALL)),
        )
    document: Config = json.loads(json.dumps(to_json(spec)))
    document["process"] |= {"args": list(args), "terminal": False} | process
    document["process"]["env"] = ["PATH=/bin"]
    document["root"]["readonly"] = False
    return document


class Oci:
    """`pyrun oci` on a state directory of its own, whose containers go when the test ends."""

    def __init__(
        self,
        directory: Path,
        *,
        python: tuple[Path, ...] = (),
        env: Mapping[str, str] | None = None,
    ) -> None:
        """`python` is another interpreter to run it by, in the environment `env`."""
        self.directory = directory
        self.root = directory / "state"
        self._argv: tuple[str | Path, ...] = (*python, *command("pyrun-oci"))
        self._env = dict(env or environment())
        self._numbers = itertools.count()

    def __call__(self, *arguments: str | Path, **choices: Any) -> Result:
        """Run one verb to its end."""
        choices.setdefault("env", self._env)
        groups = choices.pop("extra_groups", None)
        argv = self.argv(*arguments)
        if groups is not None:
            argv = ["setpriv", "--groups", ",".join(str(group) for group in groups), *argv]
        return run(argv, **choices)

    def argv(self, *arguments: str | Path) -> list[str | Path]:
        """The whole command line of a verb."""
        return [*self._argv, "--root", self.root, *arguments]

    def popen(self, *arguments: str | Path, **choices: Any) -> subprocess.Popen[bytes]:
        """Start one verb."""
        return subprocess.Popen(self.argv(*arguments), env=self._env, **choices)

    def bundle(self, config: Config, tree: Mapping[str, TreeValue] | None = None) -> Path:
        """A new bundle; its root is `BASE` with the changes of `tree`."""
        path = self.directory / f"bundle{next(self._numbers)}"
        changed = tree or {}
        tops = {name for name in changed if not name.endswith("/")}
        base = {name: value for name, value in BASE.items() if name.rstrip("/") not in tops}
        make_tree(path / "rootfs", base | dict(changed))
        if any(n["type"] == "user" for n in config["linux"]["namespaces"]):
            argv = ["chown", "-hR", f"{ROOT_OUTSIDE}:{ROOT_OUTSIDE}", str(path / "rootfs")]
            subprocess.run(argv, check=True)
        self.configure(path, config)
        return path

    def configure(self, bundle: Path, config: Config) -> None:
        """Write a bundle's configuration."""
        (bundle / "config.json").write_text(json.dumps(config))

    def name(self) -> str:
        """A container id that is not taken."""
        return f"security-{os.getpid()}-{next(self._numbers)}"

    def run(self, bundle: Path, *options: str, **choices: Any) -> Result:
        """Run a bundle in the foreground; nothing is left of it."""
        return self("run", "--bundle", bundle, *options, self.name(), **choices)

    @contextmanager
    def running(self, bundle: Path, *, started: bool = True) -> Iterator[str]:
        """The id of a container that runs in the background, or that was only created."""
        identity = self.name()
        # Its output is kept open by the container: not a pipe that would have to end.
        verb = ["run", "--detach"] if started else ["create"]
        with open(self.directory / "errors", "w+b") as errors:
            output: Any = {"stdout": subprocess.DEVNULL, "stderr": errors}
            process = self.popen(*verb, "--bundle", bundle, identity, **output)
            status = process.wait(60)
            errors.seek(0)
            said = errors.read().decode()
        try:
            assert status == 0, said
            yield identity
        finally:
            self("delete", "--force", identity)

    def pid(self, identity: str) -> int:
        """The first process of a container, as the host counts."""
        document = json.loads(self("state", identity).stdout)
        pid: int = document["pid"]
        return pid

    def clean_up(self) -> None:
        """Delete what is left."""
        if self.root.exists():
            for identity in os.listdir(self.root):
                self("delete", "--force", identity)
