"""What cannot be done is one line that names field and value, and nothing is left of it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.runtime.lifecycle.edits import linux, mount, process, user_namespace, without_mounts
from tests.runtime.lifecycle.runtime_calls import (
    FOREVER,
    Runtime,
    as_root,
    as_root_and_user,
    groups_of,
    marked,
    until,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.runtime.lifecycle.runtime_calls import Config, Edit

    Bundle = Callable[..., Path]


def _overlapping(config: Config) -> None:
    user_namespace()(config)
    maps = [
        {"containerID": 0, "hostID": 1000, "size": 10},
        {"containerID": 5, "hostID": 2000, "size": 10},
    ]
    config["linux"]["uidMappings"] = maps


def _too_large(config: Config) -> None:
    user_namespace(4_294_967_290, 100)(config)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (
            process(capabilities={"bounding": ["CAP_FLY"]}),
            ["process.capabilities.bounding[0]", "CAP_FLY"],
        ),
        (_overlapping, ["linux.uidMappings[1].containerID", "5 is mapped twice"]),
        (_too_large, ["linux.uidMappings[0].size", "100"]),
        (lambda c: c["root"].update(path="nothing"), ["root.path", "/nothing is no directory"]),
        (lambda c: c["root"].update(path="config.json"), ["root.path", "is no directory"]),
        (lambda c: c["root"].update(path="/"), ["root.path", "the machine's own root"]),
        (lambda c: c.pop("root"), ["root"]),
        (process(user={"uid": -1, "gid": 0}), ["process.user.uid", "-1"]),
        (process(user={"uid": 1 << 32, "gid": 0}), ["process.user.uid", "4294967296"]),
        (process(cwd="relative"), ["process.cwd", "relative"]),
        (process(args=[]), ["process.args", "is empty"]),
        (process(rlimits=[{"type": "RLIMIT_X", "soft": 1, "hard": 1}]), ["RLIMIT_X"]),
        (linux(namespaces=[{"type": "moon"}]), ["linux.namespaces[0].type", "moon"]),
        (linux(maskedPaths=["relative"]), ["linux.maskedPaths[0]", "relative"]),
        (linux(devices=[{"path": "/dev/x", "type": "q"}]), ["linux.devices[0].type", "q"]),
        (linux(rootfsPropagation="upwards"), ["linux.rootfsPropagation", "upwards"]),
        (linux(mountLabel="label"), ["linux.mountLabel", "label"]),
        (linux(seccomp={"defaultAction": "SCMP_ACT_SING"}), ["seccomp", "SCMP_ACT_SING"]),
        (linux(resources={"memory": {"limit": "much"}}), ["memory.limit", "much"]),
        (linux(resources={"cpu": {"cpus": "4000-5000"}}), ["cpu.cpus", "4000-5000"]),
        (linux(cgroupsPath="../up"), ["linux.cgroupsPath", "../up"]),
        (process(apparmorProfile="x"), ["process.apparmorProfile", "x"]),
        (lambda c: c.update(ociVersion="9.0.0"), ["ociVersion", "9.0.0"]),
        (lambda c: c.update(hostname="x" * 100), ["hostname", "x" * 20]),
        (mount("/x", "tmpfs", "x", "mode=999999999"), ["mount /x"]),
    ],
)
@as_root
def test_the_field_and_the_value_are_named(
    edit: Edit, words: list[str], oci: Runtime, bundle: Bundle
) -> None:
    path = bundle("true", edit)
    said = oci.refused("create", "-b", path, oci.new_id())
    assert [word for word in words if word not in said] == [], said
    assert not oci.root.exists() or list(oci.root.iterdir()) == []
    assert groups_of(oci.room.mark) == []
    assert marked(oci.room.mark) == []


@pytest.mark.parametrize("name", ["proc", "dev", "sys"])
@as_root_and_user
def test_a_link_in_the_image_where_a_filesystem_belongs_is_refused(
    name: str, oci: Runtime, bundle: Bundle
) -> None:
    if name == "sys" and not oci.caller.is_root:
        name = "dev/pts"  # without root, /sys is a bind
        path = bundle("true", without_mounts("/dev"))
    else:
        path = bundle("true")
    place = path / "rootfs" / name
    if place.exists():
        place.rmdir()
    place.symlink_to("/tmp")
    said = oci.refused("run", "-b", path, oci.new_id())
    assert f"/{name}: the image has a symbolic link there" in said
    assert list(oci.root.iterdir()) == []


@as_root
def test_a_hostile_passwd_is_no_trap(oci: Runtime, bundle: Bundle) -> None:
    box = oci.started(path := bundle(FOREVER))
    passwd = path / "rootfs/etc/passwd"
    for content in (
        b"\xff\xfe::::\n" * 10,
        b"a" * 100_000,
        b":::::::\nx:y:z\n\0\0",
        b"n:x:-1:5::/:\n",
    ):
        passwd.write_bytes(content)
        said = oci.refused("exec", "--user", "n", box, "true")
        assert "'n'" in said or "passwd" in said
        oci.ok("exec", "--user", "3:3", box, "true")
    passwd.unlink()
    os.mkfifo(passwd)
    assert "'n'" in oci.refused("exec", "--user", "n", box, "true")


@pytest.mark.parametrize("identity", ["a/b", "..", "x" * 256])
@as_root
def test_an_id_that_is_no_name_is_refused(identity: str, oci: Runtime, bundle: Bundle) -> None:
    said = oci.refused("create", "-b", bundle("true"), "--", identity)
    assert f"{identity!r} is no container id" in said
    assert not oci.root.exists()


@as_root
def test_a_long_id_works(oci: Runtime, bundle: Bundle) -> None:
    box = (oci.new_id() + "." + "x" * 300)[:255]
    oci.ok("run", "-b", bundle("true"), box)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fly", "x"], "unknown verb 'fly'"),
        (["stat", "x"], "did you mean state?"),
        ([], "no verb given"),
        (["create"], "create: no container id given"),
        (["create", "--fast", "x"], "unknown option --fast"),
        (["create", "--bundle"], "--bundle needs a value"),
        (["create", "a", "b"], "create: unexpected 'b'"),
        (["run", "--preserve-fds", "many", "x"], "--preserve-fds 'many': a number expected"),
        (["delete", "--force=maybe", "x"], "--force: 'maybe' is not true or false"),
        (["list", "x"], "list: unexpected 'x'"),
        (["exec", "x"], "exec: no command given"),
        (["state", "nothing"], "container 'nothing' does not exist"),
        (["--systemd-cgroup", "list"], "only cgroupfs"),
        (["events", "--interval", "0", "x"], "--interval"),
    ],
)
@as_root
def test_a_command_line_that_is_wrong_is_told_so(
    arguments: list[str], words: str, oci: Runtime, bundle: Bundle
) -> None:
    if arguments[:1] in (["exec"], ["events"]):
        arguments = [*arguments[:-1], oci.started(bundle(FOREVER))]
    assert words in oci.refused(*arguments)


@as_root_and_user
def test_a_pid_file_that_cannot_be_written_ends_the_container(
    oci: Runtime, bundle: Bundle
) -> None:
    path = bundle(FOREVER)
    said = oci.refused("create", "-b", path, "--pid-file", "/no/where/pid", oci.new_id())
    assert "--pid-file /no/where/pid: No such file or directory" in said
    assert list(oci.root.iterdir()) == []
    assert until(lambda: not marked(oci.room.mark), 2)


@as_root
def test_a_log_takes_the_error_as_engines_read_it(oci: Runtime) -> None:
    log = oci.room.place / "log"
    said = oci.refused("--log", log, "--log-format", "json", "state", "nothing")
    entry = json.loads(log.read_text())
    assert entry["level"] == "error"
    assert said == f"pyrun: {entry['msg']}\n"
    oci.refused("--log", log, "state", "other")
    assert len(log.read_text().splitlines()) == 2
    said = oci.refused("--log", "/no/where/log", "state", "nothing")
    assert "--log /no/where/log: No such file or directory" in said


@as_root_and_user
def test_a_state_directory_that_cannot_be_made_is_named(oci: Runtime, bundle: Bundle) -> None:
    oci.root = oci.room.place / "file" / "state"
    (oci.room.place / "file").write_text("")
    said = oci.refused("create", "-b", bundle("true"), oci.new_id())
    assert f"{oci.root}" in said
    assert "Not a directory" in said


@pytest.mark.parametrize("caller", ["user", "lone_user"], indirect=True)
def test_a_state_directory_that_is_not_ones_own_is_named(oci: Runtime, bundle: Bundle) -> None:
    path = bundle("true")
    oci.root = Path("/nobodys-state")
    assert "/nobodys-state" in oci.refused("create", "-b", path, oci.new_id())
    oci.root = oci.room.place / "roots"
    oci.root.mkdir(mode=0o755)
    assert "Permission denied" in oci.refused("create", "-b", path, oci.new_id())


@pytest.mark.parametrize(
    ("content", "words"),
    [("", "not valid JSON"), ("[]", "object"), ("{}", "ociVersion"), ("\0", "not valid JSON")],
)
@as_root
def test_a_configuration_that_is_none_is_named(
    content: str, words: str, oci: Runtime, bundle: Bundle
) -> None:
    path = bundle("true")
    (path / "config.json").write_text(content)
    said = oci.refused("create", "-b", path, oci.new_id())
    assert f"{path}/config.json" in said
    assert words in said
    (path / "config.json").unlink()
    assert f"{path}/config.json: No such file" in oci.refused("run", "-b", path, oci.new_id())


@pytest.mark.parametrize("caller", ["user", "lone_user"], indirect=True)
def test_without_root_a_user_namespace_is_needed(oci: Runtime, bundle: Bundle) -> None:
    def edit(config: Config) -> None:
        spaces = config["linux"]["namespaces"]
        config["linux"]["namespaces"] = [n for n in spaces if n["type"] != "user"]
        del config["linux"]["uidMappings"], config["linux"]["gidMappings"]

    said = oci.refused("run", "-b", bundle("true", edit), oci.new_id())
    assert "this process may not make namespaces" in said
    assert "user namespace" in said


@pytest.mark.parametrize("caller", ["user", "lone_user"], indirect=True)
def test_a_limit_that_a_user_cannot_have_is_named(oci: Runtime, bundle: Bundle) -> None:
    path = bundle("true", linux(resources={"pids": {"limit": 5}}))
    said = oci.refused("run", "-b", path, oci.new_id())
    assert "pids" in said
    assert list(oci.root.iterdir()) == []
