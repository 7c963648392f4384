"""Classes C and E: names that become paths, mounts that are added, files of the host in sight."""

from __future__ import annotations

import itertools
import json
import os
import pty
from pathlib import Path

import pytest

from tests.buildkit.support import SHELL, make_pybuild
from tests.runtime.security.support import Oci, configuration
from tests.support import Caller, make_tree, run_pyrun, tree_state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support import Result

pytestmark = pytest.mark.needs_root
VERBS = (
    *(["create", "--bundle", "."], ["run", "--bundle", "."], ["start"], ["state"], ["kill"]),
    *(["delete"], ["delete", "--force"], ["pause"], ["ps"], ["events", "--stats"]),
    *(["exec"], ["update", "--pids-limit", "5"], ["mounts", "add"]),
)


@pytest.mark.parametrize(
    "identity",
    [
        *(
            "..",
            ".",
            "../x",
            "a/b",
            "/tmp",
            "a/../../x",
            ".hidden",
            "a\nb",
            "a b",
            "\u00e9",
            "a:b",
        ),
        *("x" * 256, "a\\b", "@a", "a*"),
    ],
)
def test_an_id_that_is_no_name_is_refused_by_every_verb(
    identity: str, public: Path, oci: Oci
) -> None:
    oci.bundle(configuration("true"))
    make_tree(public / "x", {"state.json": "{}", "lock": "", "config.json": "{}"})
    before = tree_state(public)
    for verb in VERBS:
        more = ["true"] if verb[0] in ("exec", "mounts") else []
        result = oci(*verb, identity, *more, cwd=public / "bundle0")
        assert result.status == 125, verb
        assert "is no container id" in result.stderr
    assert tree_state(public) == before


@pytest.mark.parametrize(
    "path", ["..", "../x", "/a/../../x", "/../../../tmp/x", "a/..", "/a/b/../..", "a\nb", "/", "."]
)
def test_a_cgroups_path_that_leads_elsewhere_is_refused(path: str, oci: Oci) -> None:
    config = configuration("true")
    config["linux"]["cgroupsPath"] = path
    result = oci.run(oci.bundle(config))
    assert (result.status, result.stdout) == (125, "")
    assert "cgroupsPath" in result.stderr
    assert not oci.root.exists() or os.listdir(oci.root) == []


def test_paths_in_annotations_mean_nothing(public: Path, oci: Oci) -> None:
    config = configuration("true")
    config["annotations"] = {
        "org.systemd.property.x": "'../..'",
        "run.oci.keep_original_groups": "1",
        "run.oci.delegate-cgroup": "../../x",
        "run.oci.hooks.stdout": f"{public}/made",
        "io.podman.annotations.cgroup": "/../../..",
        "../../../x": "y",
    }
    before = set(os.listdir(public))
    result = oci.run(oci.bundle(config))
    assert result.status == 0, result.stderr
    assert set(os.listdir(public)) == before | {"bundle0", "state"}


# --- files of the host that the container is given -------------------------------------------


def _owner_and_mode(file: int | str) -> tuple[int, int, int]:
    status = os.stat(file)
    return status.st_uid, status.st_gid, status.st_mode


@pytest.fixture
def host_files(public: Path) -> Iterator[dict[str, int]]:
    """What standard input and output may be: the null device, a terminal, a file, a pipe."""
    master, slave = pty.openpty()
    (public / "file").touch()
    read, write = os.pipe()
    files = {
        "null": os.open("/dev/null", os.O_RDWR),
        "terminal": slave,
        "file": os.open(public / "file", os.O_RDWR),
        "full": os.open("/dev/full", os.O_RDWR),
    }
    yield files
    for fd in (*files.values(), master, read, write):
        os.close(fd)


@pytest.mark.parametrize("user", [0, 1000])
@pytest.mark.parametrize("own_users", [False, True])
# Every third meets each of them at each place; the second tier tries all pairs.
@pytest.mark.parametrize("step", [3, pytest.param(1, marks=pytest.mark.slow)])
def test_the_hosts_null_device_and_terminal_keep_owner_and_mode(
    step: int, own_users: bool, user: int, host_files: dict[str, int], oci: Oci
) -> None:
    config = configuration(
        "true", user_namespace=own_users, user={"uid": user, "gid": user}, cwd="/"
    )
    bundle = oci.bundle(config)
    watched: list[int | str] = [
        "/dev/null",
        "/dev/tty",
        "/dev/zero",
        "/dev/full",
        *host_files.values(),
    ]
    before = [_owner_and_mode(file) for file in watched]
    config["process"]["args"] = ["sleep", "100"]
    waiting = oci.bundle(config)
    with oci.running(waiting) as identity:
        pairs = list(itertools.product(host_files.values(), repeat=2))
        for stdin, stdout in pairs[::step]:
            given = {"stdin": stdin, "stdout": stdout, "stderr": stdout}
            assert oci.popen("run", "-b", bundle, oci.name(), **given).wait(30) == 0
            for options in ([], ["-u", "7:7"]):
                assert oci.popen("exec", *options, identity, "true", **given).wait(30) == 0
    assert [_owner_and_mode(file) for file in watched] == before


# Not a change of the mode: that of the host's own would change if the attack worked.
NODES = "for n in 0 1 2; do stat -L -c %d:%i /proc/self/fd/$n >> /found; done"


def _null_nodes(text: str) -> set[str]:
    host = os.stat("/dev/null")
    return set(text.split()) & {f"{host.st_dev}:{host.st_ino}"}


def test_the_hosts_null_device_is_not_handed_to_run_and_exec(oci: Oci) -> None:
    # Root in the container could change its mode and owner by /proc/self/fd/0.
    bundle = oci.bundle(configuration("sh", "-c", NODES))
    found = bundle / "rootfs/found"
    with open("/dev/null", "r+b", buffering=0) as null:
        given = {"stdin": null, "stdout": null, "stderr": null}
        assert oci.popen("run", "-b", bundle, oci.name(), **given).wait(30) == 0
        first = found.read_text()
        found.unlink()
        oci.configure(bundle, configuration("sleep", "100"))
        with oci.running(bundle) as identity:
            assert oci.popen("exec", identity, "sh", "-c", NODES, **given).wait(30) == 0
            second = found.read_text()
    for text in (first, second):
        assert len(text.split()) == 3
        assert _null_nodes(text) == set()


def test_the_hosts_null_device_is_not_handed_to_an_image(
    public: Path, store: Path, busybox: Path
) -> None:
    result = run_pyrun(busybox, "stat", "-L", "-c", "%d:%i %t:%T", "/proc/self/fd/0", store=store)
    node, device = result.stdout.split()
    assert device == "1:3"
    assert _null_nodes(node) == set()


def test_the_hosts_null_device_is_not_handed_to_run_of_a_build(public: Path) -> None:
    pybuild = make_pybuild(public / "build", Caller("root", 0, 0, "/root"))
    said = pybuild.build(f"{SHELL}RUN {NODES}\n").read("found").decode()
    assert len(said.split()) == 3
    assert _null_nodes(said) == set()


# --- mounts that are added ------------------------------------------------------------------


@pytest.fixture
def volume(public: Path) -> Path:
    """A directory of the host, open to all, with a mount below it."""
    tree = make_tree(public / "volume", {"file": "host", "below/": None})
    for path in (tree, *tree.iterdir()):
        path.chmod(0o777)
    return tree


def _add(oci: Oci, identity: str, volume: Path, place: str, *options: str) -> Result:
    array = [{"destination": place, "type": "bind", "source": str(volume), "options": options}]
    path = oci.directory / "mounts.json"
    path.write_text(json.dumps(array))
    return oci("mounts", "add", identity, path)


ATTEMPTS = (
    "echo x > /m/file; mount -o remount,rw /m; mount -o remount,bind,rw /m; echo x > /m/file;"
    " mount -o bind /m /tmp && mount -o remount,bind,rw /tmp && echo x > /tmp/file;"
    " touch /m/new; echo x >> /m/file; cat /m/file;"
    # What is below is the container's own: it may have that again, if it can.
    " umount /m; touch /m/new; echo x >> /m/file; true"
)


@pytest.mark.parametrize("own_users", [True, False])
def test_a_read_only_mount_that_was_added_stays_read_only(
    own_users: bool, volume: Path, oci: Oci
) -> None:
    # In its user namespace the container has every capability: only locked flags hold there.
    before = tree_state(volume)
    config = configuration("sleep", "100", user_namespace=own_users)
    with oci.running(oci.bundle(config, {"bin/mount": Path("busybox"), "bin/umount":
                                         Path("busybox")})) as identity:  # fmt: skip
        added = _add(oci, identity, volume, "/m", "rbind", "rro")
        assert added.status == 0, added.stderr
        result = oci("exec", identity, "sh", "-c", ATTEMPTS)
        assert result.stdout == "host"
    assert tree_state(volume) == before


def test_a_writable_mount_that_was_added_can_be_written(volume: Path, oci: Oci) -> None:
    with oci.running(oci.bundle(configuration("sleep", "100"))) as identity:
        assert _add(oci, identity, volume, "/m", "rbind").status == 0
        oci("exec", identity, "sh", "-c", "echo x > /m/file")
    assert (volume / "file").read_text() == "x\n"


@pytest.mark.parametrize("place", ["/proc", "/proc/sys", "/link/x", "/proc/self/x"])
def test_cve_2019_16884_a_mount_that_is_added_does_not_cover_proc(
    place: str, volume: Path, oci: Oci
) -> None:
    bundle = oci.bundle(configuration("sleep", "100"), {"link": Path("/proc/sys/kernel")})
    with oci.running(bundle) as identity:
        result = _add(oci, identity, volume, place, "bind")
        assert result.status == 125
        assert place in result.stderr


@pytest.mark.parametrize("route", ["{outside}", "../../../../..{outside}", "/"])
def test_cve_2021_41089_a_mount_that_is_added_through_a_link_stays_inside(
    route: str, public: Path, volume: Path, oci: Oci
) -> None:
    outside = make_tree(public / "outside", {"file": "x"})
    before, host = tree_state(outside), set(os.listdir("/"))
    link = {"link": Path(route.format(outside=outside))}
    with oci.running(oci.bundle(configuration("sleep", "100"), link)) as identity:
        _add(oci, identity, volume, "/link/made/here", "bind", "ro")
    assert tree_state(outside) == before
    assert set(os.listdir("/")) == host


def test_cve_2018_15664_what_hides_a_path_is_not_removed_by_a_link_to_it(
    volume: Path, oci: Oci
) -> None:
    bundle = oci.bundle(configuration("sleep", "100"), {"d/": None, "link": Path("/proc")})
    with oci.running(bundle) as identity:
        for place in ("/link/keys", "/d/../link/keys", "/link/sys"):
            array = [{"destination": place, "type": "bind", "source": str(volume)}]
            path = oci.directory / "mounts.json"
            path.write_text(json.dumps(array))
            assert oci("mounts", "remove", identity, path).status == 125
        assert oci("exec", identity, "cat", "/proc/keys").stdout == ""
        writes = oci("exec", identity, "sh", "-c", "echo h > /proc/sys/kernel/hostname")
        assert "Read-only file system" in writes.stderr


def test_cve_2020_1726_a_volume_is_not_overwritten_by_what_the_image_has_there(
    volume: Path, oci: Oci
) -> None:
    before = tree_state(volume)
    config = configuration("true")
    config["mounts"] += [
        {"destination": "/m", "type": "bind", "source": str(volume), "options": ["bind"]},
        {"destination": "/t", "type": "tmpfs", "source": "t", "options": ["tmpcopyup"]},
    ]
    assert oci.run(oci.bundle(config, {"m/file": "image", "t/file": "image"})).status == 0
    assert tree_state(volume) == before


def test_a_read_only_volume_of_an_image_stays_read_only(
    volume: Path, public: Path, store: Path, busybox: Path, caller: Caller
) -> None:
    before = tree_state(volume)
    run_pyrun("-v", f"{volume}:/m:ro", busybox, "sh", "-c", ATTEMPTS, store=store, caller=caller)
    assert tree_state(volume) == before
