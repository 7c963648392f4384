"""--platform: images for other machines, and for several at once."""

from __future__ import annotations

import json
import platform
import re
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from buildkit.platforms import read_platforms, settled_platform
from buildkit.steps import ImageBase, StageBase
from grammar.values import InvalidValue
from runtime.oci.image import ExecutionParameters, ImageConfig
from tests.buildkit.planning import faults, planner
from tests.buildkit.support import Image, Pybuild
from tests.support import command, members_of, read_members, run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = "linux/amd64"
HANDLERS = Path("/proc/sys/fs/binfmt_misc")
EMULATOR = "/usr/bin/qemu-aarch64-static"
# Of an executable ELF file for aarch64, 64 bits and little endian (binfmt-misc.rst).
MAGIC = r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
MASK = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"
BOTH = "--platform=linux/amd64,linux/arm64"
TEXT = """\
FROM scratch
ARG TARGETARCH TARGETPLATFORM BUILDPLATFORM
COPY bin/$TARGETARCH/machine /machine
COPY same /same
RUN ["/machine", "/made"]
ENV FOR=$TARGETPLATFORM ON=$BUILDPLATFORM
CMD ["/machine"]
"""


@pytest.fixture(scope="module")
def programs(public_root: Path) -> Path:
    """bin/ARCHITECTURE/machine for both architectures."""
    if platform.machine() != "x86_64":
        pytest.skip("written for x86_64, which emulates arm64")
    source = Path(__file__).parent / "programs/machine.c"
    made = public_root / "programs"
    for name, compiler in (("amd64", "gcc"), ("arm64", "aarch64-linux-gnu-gcc")):
        (made / name).mkdir(parents=True)
        argv = [compiler, "-O1", "-static", "-nostdlib", "-ffreestanding", "-o"]
        try:
            subprocess.run([*argv, made / name / "machine", source], check=True)
        except FileNotFoundError:
            pytest.skip(f"{compiler} is not installed")
    return made


@pytest.fixture(scope="module")
def emulated() -> Iterator[None]:
    """Programs for arm64 run here."""
    if not Path(EMULATOR).exists():
        pytest.skip(f"{EMULATOR} is not installed")
    if not (HANDLERS / "register").exists():
        run(["mount", "-t", "binfmt_misc", "none", HANDLERS])
    handler = f":pybuild-test:M::{MAGIC}:{MASK}:{EMULATOR}:F"
    try:
        (HANDLERS / "register").write_text(handler)
    except OSError as error:
        pytest.skip(f"no emulator can be registered: {error}")
    yield
    (HANDLERS / "pybuild-test").write_text("-1")


@pytest.fixture
def context(anybody: Pybuild, programs: Path) -> Pybuild:
    """Somebody with programs for both machines."""
    return _with_programs(anybody, programs)


def _with_programs(pybuild: Pybuild, programs: Path) -> Pybuild:
    for name in ("amd64", "arm64"):
        (pybuild.context / "bin" / name).mkdir(parents=True)
        target = pybuild.context / "bin" / name / "machine"
        target.write_bytes((programs / name / "machine").read_bytes())
        target.chmod(0o755)
    pybuild.add({"same": "same"})
    return pybuild


def _nested(archive: Path) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """Configuration and manifest by architecture, from the index below index.json."""
    members = read_members(archive)

    def read(descriptor: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(
            members["blobs/" + descriptor["digest"].replace(":", "/")]
        )
        return found

    [descriptor] = json.loads(members["index.json"])["manifests"]
    found = {}
    for listed in read(descriptor)["manifests"]:
        manifest = read(listed)
        config = read(manifest["config"])
        assert listed["platform"]["architecture"] == config["architecture"]
        found[config["architecture"]] = config, manifest
    return found


def _pyrun(pybuild: Pybuild, *arguments: str | Path) -> str:
    ended = run(
        [*command("pyrun"), f"--root={pybuild.store}", *arguments],
        caller=pybuild.caller,
        env=pybuild.environment(),
    )
    return ended.stdout if ended.status == 0 else ended.stderr


# What is asked for.


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("linux/arm64",), ("linux/arm64",)),
        (("arm64", "amd64,linux/arm64/v8"), ("linux/arm64", "linux/amd64")),
        (("linux/arm",), ("linux/arm/v7",)),
        (("aarch64, x86_64",), ("linux/arm64", "linux/amd64")),
        (("linux",), (HERE,)),
        ((), ()),
    ],
)
def test_platforms_are_read_as_docker_reads_them(
    words: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    assert read_platforms(words, HERE) == expected


@pytest.mark.parametrize("text", ["", "linux/", "linux/a/b/c", "windows/amd64", "vax"])
def test_what_is_no_platform_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue):
        settled_platform(text, HERE)


@pytest.mark.parametrize("text", ["windows/amd64", "vax"])
def test_a_bad_option_is_one_line(pybuild: Pybuild, text: str) -> None:
    ended = pybuild.try_build("FROM scratch\n", f"--platform={text}")
    assert ended.status == 2
    assert ended.stderr.startswith(f"pybuild: --platform {text!r}: ")
    assert not pybuild.output.exists()


def test_a_bad_platform_of_from_is_an_error_at_the_word() -> None:
    [(line, column, message)] = faults("ARG P=windows\nFROM --platform=$P scratch")
    assert (line, column) == (2, 17)
    assert message == "platform 'windows': containers here are Linux containers"


# Planning.


def _planned(text: str, asked: str = "linux/arm64", base: str = "arm64") -> Any:
    made = planner(text, platform=asked)
    configs = {
        image: ImageConfig(architecture=base, config=ExecutionParameters())
        for image in made.base_images()
    }
    made.take_triggers(configs)
    return made.plan(configs)


def test_automatic_arguments_tell_both_machines_apart() -> None:
    names = "TARGETPLATFORM TARGETOS TARGETARCH TARGETVARIANT BUILDPLATFORM BUILDARCH BUILDVARIANT"
    env = "".join(f" {name}=${name}" for name in names.split())
    text = f"FROM scratch\nARG {names}\nENV{env}"
    values = dict(v.split("=") for v in _planned(text, "linux/arm/v6").targets[0].config.env[1:])
    assert values == {
        "TARGETPLATFORM": "linux/arm/v6",
        "TARGETOS": "linux",
        "TARGETARCH": "arm",
        "TARGETVARIANT": "v6",
        "BUILDPLATFORM": HERE,
        "BUILDARCH": "amd64",
        "BUILDVARIANT": "",
    }


def test_a_stage_is_for_what_its_from_says_and_those_on_it_too() -> None:
    text = """\
FROM --platform=$BUILDPLATFORM scratch AS tools
FROM tools AS more
FROM --platform=linux/s390x scratch AS other
FROM scratch
COPY --from=more /a /
COPY --from=other /b /
"""
    found = {stage.name: stage.platform for stage in _planned(text).stages}
    assert found == {"tools": HERE, "more": HERE, "other": "linux/s390x", "stage-3": "linux/arm64"}


def test_images_are_asked_for_by_platform() -> None:
    text = """\
FROM --platform=$BUILDPLATFORM base AS tools
FROM tools
COPY --from=files /a /
FROM base
COPY --from=files /b /
COPY --from=1 /c /
"""
    assert set(planner(text, platform="linux/arm64").base_images()) == {
        ImageBase(name="base", platform=HERE),
        ImageBase(name="files", platform=HERE),
        ImageBase(name="base", platform="linux/arm64"),
        ImageBase(name="files", platform="linux/arm64"),
    }


def test_a_stage_of_another_image_is_another_stage() -> None:
    target = _planned("FROM scratch AS a\nFROM a").targets[0]
    assert target.base == StageBase(index=0, image_platform="linux/arm64")


def test_what_an_image_is_for_counts_where_nothing_was_asked() -> None:
    assert _planned("FROM base", "", base="s390x").targets[0].platform == "linux/s390x"


# Building.


@pytest.mark.usefixtures("emulated")
def test_one_foreign_platform_is_built_and_run(context: Pybuild) -> None:
    image = context.build(TEXT, "--platform=linux/arm64")
    assert image.config["architecture"] == "arm64"
    assert image.descriptor["platform"] == {"architecture": "arm64", "os": "linux"}
    assert image.read("made") == b"aarch64\n"
    assert image.process["Env"][1:] == ["FOR=linux/arm64", f"ON={HERE}"]
    if not context.launcher:
        assert _pyrun(context, context.output) == "aarch64\n"


@pytest.mark.usefixtures("emulated")
def test_several_platforms_are_one_nested_index(context: Pybuild) -> None:
    ended = context.try_build(TEXT, BOTH, "-o", context.output, "-t", "both")
    assert ended.status == 0, ended.stderr
    assert f"[{HERE} stage-0 1/3]" in ended.stderr
    found = _nested(context.output)
    assert set(found) == {"amd64", "arm64"}
    for architecture, (config, manifest) in found.items():
        assert f"FOR=linux/{architecture}" in config["config"]["Env"]
        assert len(manifest["layers"]) == 3
    members = read_members(context.output)
    made = {
        architecture: members["blobs/" + manifest["layers"][2]["digest"].replace(":", "/")]
        for architecture, (_, manifest) in found.items()
    }
    assert {a: sorted(members_of(layer)) for a, layer in made.items()} == {
        "amd64": ["made"],
        "arm64": ["made"],
    }
    if not context.launcher:
        for name in (str(context.output), "both"):
            assert _pyrun(context, name) == "x86_64\n"
            assert _pyrun(context, "--platform=arm64", name) == "aarch64\n"
            assert "no image for linux/s390x" in _pyrun(context, "--platform=s390x", name)


@pytest.mark.usefixtures("emulated")
def test_each_image_of_an_index_is_what_is_built_alone(context: Pybuild) -> None:
    context.try_build(TEXT, BOTH)
    together = _nested(context.output)
    for architecture, (config, manifest) in together.items():
        image = context.build(TEXT, f"--platform={architecture}", "--no-cache")
        assert (image.config, image.manifest) == (config, manifest)


def test_work_for_this_machine_is_done_once(context: Pybuild) -> None:
    text = """\
FROM --platform=$BUILDPLATFORM scratch AS tools
COPY bin/amd64/machine /machine
RUN ["/machine", "/made"]
FROM scratch
ARG TARGETARCH
COPY --from=tools /made /made-for-$TARGETARCH
"""
    words = context.steps(text, BOTH)
    assert sorted(words) == ["CACHED", "CACHED", "DONE", "DONE", "DONE", "DONE"]
    assert set(_nested(context.output)) == {"amd64", "arm64"}


def test_an_unchanged_index_is_answered_from_the_record(pybuild: Pybuild) -> None:
    text = "FROM scratch\nCOPY f /f\n"
    pybuild.add({"f": "1"})
    first = pybuild.try_build(text, BOTH)
    again = pybuild.try_build(text, BOTH)
    assert "up to date" in again.stderr
    assert again.stdout == first.stdout
    assert "up to date" not in pybuild.try_build(text, "--platform=arm64").stderr


def test_the_id_and_the_metadata_of_an_index_are_its_own(pybuild: Pybuild) -> None:
    iid, metadata = pybuild.work / "iid", pybuild.work / "metadata"
    ended = pybuild.try_build(
        "FROM scratch\n", BOTH, f"--iidfile={iid}", f"--metadata-file={metadata}"
    )
    digest = ended.stdout.strip()
    assert iid.read_text() == digest
    table = json.loads(metadata.read_text())
    assert table["containerimage.digest"] == digest
    assert "containerimage.config.digest" not in table
    assert table["containerimage.descriptor"]["mediaType"].endswith("image.index.v1+json")


def test_images_that_are_the_same_are_listed_once(pybuild: Pybuild) -> None:
    text = f"FROM --platform={HERE} scratch\n"
    assert pybuild.try_build(text, BOTH).status == 0
    assert set(_nested(pybuild.output)) == {"amd64"}


# Programs that do not run here.


def test_a_run_that_nothing_emulates_fails_at_its_line_before_anything_is_done(
    context: Pybuild,
) -> None:
    ended = context.try_build(TEXT, "--platform=linux/s390x")
    assert ended.status == 6
    said = f"this machine ({HERE}) cannot run programs for linux/s390x: nothing emulates them\n"
    assert f"{context.context}/Containerfile:5:1: {said}" in ended.stderr
    assert "qemu-user-static" in ended.stderr
    assert "#1" not in ended.stderr


def test_a_machine_that_is_not_known_is_told_apart(pybuild: Pybuild) -> None:
    ended = pybuild.try_build('FROM scratch\nRUN ["/x"]\n', "--platform=linux/sparc")
    assert ended.status == 6
    assert "cannot run programs for linux/sparc" in ended.stderr


def test_an_image_without_run_needs_no_emulator(context: Pybuild) -> None:
    image = context.build("FROM scratch\nCOPY same /\n", "--platform=linux/s390x")
    assert image.config["architecture"] == "s390x"


@pytest.mark.needs_root
def test_an_emulator_that_images_do_not_see_is_said_to_be_one(pybuild: Pybuild) -> None:
    """Without the flag F it is looked for inside the image."""
    if not (HANDLERS / "register").exists():
        run(["mount", "-t", "binfmt_misc", "none", HANDLERS])
    # Of s390x: nobody else's handler is disturbed.
    magic = r"\x7fELF\x02\x02\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x16"
    try:
        (HANDLERS / "register").write_text(f":pybuild-test-s390x:M::{magic}::{EMULATOR}:")
    except OSError as error:
        pytest.skip(f"no emulator can be registered: {error}")
    try:
        ended = pybuild.try_build('FROM scratch\nRUN ["/x"]\n', "--platform=linux/s390x")
    finally:
        with suppress(OSError):
            (HANDLERS / "pybuild-test-s390x").write_text("-1")
    assert ended.status == 6
    assert "their emulator is not seen inside images" in ended.stderr


SPEC = """\
Name: machine
Version: 1
Release: 1
Summary: Says for which machine it was made
License: MIT
%description
%install
install -D {program} %{{buildroot}}/usr/bin/machine
%post -p /usr/bin/machine
%files
/usr/bin/machine
"""


@pytest.mark.usefixtures("emulated")
@pytest.mark.needs_program("rpmbuild", "createrepo_c")
def test_a_system_for_another_machine_is_made_of_its_packages(
    as_root: Pybuild, programs: Path, tmp_path: Path
) -> None:
    (tmp_path / "spec").write_text(SPEC.format(program=programs / "arm64/machine"))
    packages = as_root.context / "repo"
    defines = (f"_rpmdir {packages}", f"_topdir {tmp_path}/top", "__os_install_post %{nil}")
    options = [word for define in defines for word in ("--define", define)]
    made = run(["rpmbuild", "-bb", "--target=aarch64", *options, tmp_path / "spec"])
    assert made.status == 0, made.stderr
    assert run(["createrepo_c", packages]).status == 0
    ended = as_root.try_build(
        "FROM scratch\nBOOTSTRAP --repo=id=here,url=repo --nogpgcheck machine\n",
        "--platform=linux/arm64",
    )
    assert ended.status == 0, ended.stderr
    assert re.search(r"^#1 [0-9.]+ aarch64$", ended.stderr, re.MULTILINE), "the scriptlet's output"
    image = Image(as_root.output)
    assert image.config["architecture"] == "arm64"
    assert image.read("usr/bin/machine") == (programs / "arm64/machine").read_bytes()


# Base images.


def _made(pybuild: Pybuild, *options: str) -> Path:
    """An image for both machines, as an archive in the context."""
    ended = pybuild.try_build("FROM scratch\nCOPY same /\n", *options)
    assert ended.status == 0, ended.stderr
    path = pybuild.context / "base.tar"
    path.write_bytes(pybuild.output.read_bytes())
    return path


@pytest.mark.parametrize("architecture", ["amd64", "arm64"])
def test_the_base_of_an_archive_for_several_is_chosen(context: Pybuild, architecture: str) -> None:
    _made(context, BOTH)
    image = context.build("FROM base.tar\nCOPY same /two\n", f"--platform={architecture}")
    assert image.config["architecture"] == architecture
    assert len(image.layers) == 2


def test_a_name_that_stands_for_several_serves_each(pybuild: Pybuild) -> None:
    assert pybuild.try_build("FROM scratch\nLABEL a=b\n", BOTH, "-t", "base").status == 0
    assert pybuild.try_build("FROM base\nLABEL c=d\n", BOTH).status == 0
    for config, _ in _nested(pybuild.output).values():
        assert config["config"]["Labels"] == {"a": "b", "c": "d"}


def test_a_base_for_another_machine_is_refused_where_one_was_asked_for(context: Pybuild) -> None:
    _made(context, "--platform=arm64")
    ended = context.try_build("FROM base.tar\n", "--platform=linux/amd64")
    assert ended.status == 1
    assert "Containerfile:1:6: " in ended.stderr
    assert "base.tar: the image is for linux/arm64, not for linux/amd64" in ended.stderr
    assert context.try_build("FROM --platform=arm64 base.tar\n").status == 0


def test_a_base_for_another_machine_is_warned_of_where_nothing_was_asked(
    context: Pybuild,
) -> None:
    _made(context, "--platform=arm64")
    ended = context.try_build("FROM base.tar\nCOPY same /two\n")
    assert ended.status == 0
    assert f"warning: base.tar is for linux/arm64, this machine is {HERE}" in ended.stderr
    assert Image(context.output).config["architecture"] == "arm64"


def test_a_platform_that_an_archive_has_not_is_named_with_what_it_has(context: Pybuild) -> None:
    _made(context, BOTH)
    ended = context.try_build("FROM base.tar\n", "--platform=s390x")
    assert ended.status == 1
    assert "no image for linux/s390x, only for linux/amd64, linux/arm64" in ended.stderr


# What is written.


@pytest.mark.parametrize("kind", ["local", "rootfs"])
def test_each_platform_has_a_directory(pybuild: Pybuild, kind: str) -> None:
    pybuild.add({"amd64": "a", "arm64": "b"})
    ended = pybuild.try_build(
        "FROM scratch\nARG TARGETARCH\nCOPY $TARGETARCH /f\n", BOTH, "-o", f"type={kind},dest=out"
    )
    assert ended.status == 0, ended.stderr
    out = pybuild.work / "out"
    found = {str(p.relative_to(out)): p.read_text() for p in out.rglob("*") if p.is_file()}
    assert found == {"linux_amd64/f": "a", "linux_arm64/f": "b"}


@pytest.mark.parametrize("kind", ["docker", "tar"])
def test_what_holds_one_platform_is_refused_for_several(pybuild: Pybuild, kind: str) -> None:
    ended = pybuild.try_build("FROM scratch\n", BOTH, "-o", f"type={kind},dest=out")
    assert ended.status == 2
    assert f"-o type={kind} is for one platform" in ended.stderr


@pytest.mark.parametrize("options", [(), ("--format=docker",), ("--compression=gzip",)])
@pytest.mark.needs_program("skopeo")
def test_skopeo_takes_either_image(context: Pybuild, options: tuple[str, ...]) -> None:
    archive = _made(context, BOTH, *options)
    for architecture in ("amd64", "arm64"):
        choice = ("--override-arch", architecture)
        ended = run(["skopeo", *choice, "inspect", "--config", f"oci-archive:{archive}"])
        assert ended.status == 0, ended.stderr
        assert json.loads(ended.stdout)["architecture"] == architecture
    target = f"oci:{context.directory}/all"
    ended = run(["skopeo", "copy", "--all", f"oci-archive:{archive}", target])
    assert ended.status == 0, ended.stderr
    ended = context.try_build(
        "FROM there\n",
        "--platform=arm64",
        f"--build-context=there=oci-layout://{context.directory}/all",
    )
    assert ended.status == 0, ended.stderr


@pytest.mark.needs_root
@pytest.mark.needs_program("podman")
def test_podman_loads_this_machines(as_root: Pybuild, tmp_path: Path, programs: Path) -> None:
    archive = _made(_with_programs(as_root, programs), BOTH)
    # podman takes no long path for its sockets.
    storage = (
        f"--root={tmp_path}/root",
        f"--runroot={as_root.directory}/run",
        "--storage-driver=vfs",
    )
    ended = run(["podman", *storage, "load", "-q", "-i", archive])
    assert ended.status == 0, ended.stderr
    name = ended.stdout.strip().removeprefix("Loaded image: ")
    ended = run(["podman", *storage, "image", "inspect", "--format={{.Architecture}}", name])
    assert ended.stdout == "amd64\n"
    run(["podman", *storage, "system", "reset", "-f"])


# Looking after the store.


def test_the_store_keeps_and_verifies_all_images_of_an_index(pybuild: Pybuild) -> None:
    pybuild.add({"f": "1"})
    assert pybuild.try_build("FROM scratch\nCOPY f /\n", BOTH, "-t", "both").status == 0
    assert pybuild.run("prune", "--all").status == 0
    assert pybuild.run("verify-store").status == 0
    ended = pybuild.try_build("FROM both\n", BOTH, "--no-cache")
    assert ended.status == 0, ended.stderr


def test_a_shell_is_for_one_platform(pybuild: Pybuild) -> None:
    pybuild.write("FROM scratch\n")
    ended = pybuild.run("shell", BOTH, pybuild.context)
    assert ended.status == 2
    assert "one --platform at a time" in ended.stderr


@pytest.mark.usefixtures("emulated")
def test_each_image_of_an_index_is_reproducible(as_root: Pybuild, programs: Path) -> None:
    _with_programs(as_root, programs).write(TEXT)
    ended = as_root.run("verify-reproducible", BOTH, as_root.context)
    assert ended.status == 0, ended.stderr
