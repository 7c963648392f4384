"""--isolation: the same layers with namespaces and by chroot; what chroot cannot give is said."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.buildkit.conftest import new_room, pybuild_of
from tests.buildkit.support import (
    SHELL,
    Image,
    Pybuild,
    make_pybuild,
    mounts,
    processes,
)
from tests.conftest import userns_is_missing
from tests.support import (
    GROUP,
    PASSWD,
    PLAIN_CONTAINER,
    Caller,
    TreeValue,
    command,
    make_tree,
    run,
)

pytestmark = pytest.mark.needs_root

FILES: dict[str, TreeValue] = {
    "t/x": "x",
    "t/y": "y",
    "t/z": "z",
    "t/d/e/f": "f",
    "t/d/g": "g",
    "t/link": Path("d"),
    "etc/hosts": "mine",
    "etc/resolv.conf": Path("../run/resolve/stub.conf"),
    "dev/image": "a file that the image has in /dev",
    "accounts/passwd": PASSWD,
    "accounts/group": GROUP,
}
# A name, and what follows a stage whose image has FILES's t, etc and dev.
STEPS = {
    "creates": "mkdir -p /a/b && echo 1 > /a/b/c && ln -s c /a/l && mkfifo /p; umask 77; > /q",
    "deletes": "rm /t/x; rm -r /t/d; touch /t/new; rm /t/new; rm /t/link",
    "replaces": "rm -r /t/d && mkdir /t/d && > /t/d/n; rm /t/x && mkdir /t/x; ln -sf x /t/y",
    "becomes-a-file": "rm -r /t/d && echo 1 > /t/d",
    "comes-and-goes": "mkdir /t/n; touch /t/n/f; rm -r /t/n; mkdir /u; rmdir /u",
    "touches": "chmod 644 /t/x; touch /t/y; chown 0:0 /t/z; chmod 700 /t/d/e",
    "deep": "> /t/d/e/new; chmod 600 /t/d/g",
    "rewrites": "echo x > /t/x; cp /t/y /y; mv /y /t/y; touch -d @400000000 /t/d/g /t/d",
    "links": "ln /t/x /t/h; > /n; ln /n /m; rm /n; ln /m /t/o; ln -sf none /t/link",
    "renames": "mkdir /.n && > /.n/f && mv /.n /final; mv /t/x /t/w; mv /t/d /moved; mv /moved /t",
    "root": "chmod 700 /",
    "network-files": "echo 192.0.2.1 a >> /etc/hosts; > /etc/resolv.conf; ls -d /etc",
    "network-folder": "> /etc/new; chmod 700 /etc",
    "devices": "> /dev/null; > /dev/new; mkdir /dev/d; echo 1 > /dev/shm/x; > /d",
    "nothing": "cat /t/x; ls /t > /dev/null",
    "many-layers": "> /1\nRUN rm /1; > /2\nWORKDIR /3/4\nRUN > 5\nCOPY t/x /t/z\nRUN rm -r /3 /t",
    "copies-a-stage": "> /1\nFROM scratch\nCOPY --from=0 / /\nCOPY --from=base /t /t\n",
    "links-layers": "true\nCOPY --link t /k/t/\nCOPY --link --parents t/x /\nRUN rm /t/x",
    "parts": "> /1\nFROM base AS b\nRUN > /2\nFROM base\nCOPY --from=b /2 /b\nRUN rm /t/x",
}
# Those that builders without root repeat as well; they have their own tests.
REPEATED = {"replaces", "links", "links-layers", "many-layers", "copies-a-stage", "user"}
OWNED = {
    "owners": "chown -R 5:6 /t/d; > /o; chown 1000:1000 /o; chmod 4755 /t/x",
    "user": "true\nCOPY accounts /etc/\nWORKDIR /h\nRUN chown alice /h\nUSER alice\nRUN > /h/f",
}
BASE = f"{SHELL}COPY t /t\nCOPY etc /etc\nCOPY dev /dev\n"
BASE += "RUN touch -d @400000000 /t/d/e/f /t/d/e /t/d /t\n"
WARNING = "pybuild: warning: steps run by chroot only"


@pytest.fixture(scope="module")
def builders(public_root: Path, user: Caller, lone_user: Caller) -> Iterator[dict[str, Pybuild]]:
    """Four who build, each with the image `base` in the store."""
    with new_room(public_root) as room:
        made = {who: pybuild_of(room / who, who, user) for who in ("root", "plain_container")}
        if not userns_is_missing():
            made["user"] = make_pybuild(room / "user", user)
            made["lone_user"] = make_pybuild(room / "lone_user", lone_user)
        for pybuild in made.values():
            pybuild.add(FILES)
            ended = pybuild.try_build(BASE, "-t", "base")
            assert ended.status == 0, ended.stderr
        yield made


@pytest.mark.parametrize("name", [*STEPS, *OWNED])
def test_a_step_leads_to_the_same_image_with_and_without_namespaces(
    builders: dict[str, Pybuild], name: str
) -> None:
    text = f"FROM base\nRUN {(STEPS | OWNED)[name]}\n"
    digests = {}
    for who, pybuild in builders.items():
        if who == "lone_user" and name in OWNED:  # it cannot have those owners
            continue
        if who in ("user", "lone_user") and name not in REPEATED:
            continue
        ended = pybuild.try_build(text)
        assert ended.status == 0, ended.stderr
        digests[who] = ended.stdout
        assert (WARNING in ended.stderr) == (who == "plain_container")
    assert len(set(digests.values())) == 1, {
        who: [sorted(Image(builders[who].output).layer(n)) for n in range(-2, 0)]
        for who in digests
    }


def test_a_directory_that_was_renamed_hides_nothing_in_either_mode(
    builders: dict[str, Pybuild],
) -> None:
    """Overlayfs marks it opaque all the same, if it was made anew."""
    text = "FROM base\nRUN mkdir /.n && mv /.n /final\n"
    for pybuild in builders.values():
        assert list(pybuild.build(text).layer()) == ["final"]


def test_a_store_that_was_filled_by_chroot_serves_namespaces_and_the_reverse(
    builders: dict[str, Pybuild],
) -> None:
    plain = builders["plain_container"]
    text = "FROM base\nRUN > /1\nRUN > /2\n"
    asked = [plain.try_build(text, f"--isolation={how}").stdout for how in ("chroot", "auto")]
    more = f"{text}RUN > /3\n"
    caller = plain.caller
    with_namespaces = run(
        [*command("pybuild"), "--isolation=namespaces", str(plain.context)],
        caller=caller,
        env=plain.environment(),
        cwd=plain.work,
    )
    assert with_namespaces.stdout == asked[0] == asked[1]
    plain.write(more)
    run([*command("pybuild"), str(plain.context)], env=plain.environment(), cwd=plain.work)
    assert plain.steps(f"{more}RUN > /4\n") == ["CACHED"] * 3 + ["DONE"]


def test_a_store_on_an_overlay_as_containers_have_it_leads_to_the_same_images(
    builders: dict[str, Pybuild], plain: Pybuild
) -> None:
    """Overlayfs allows no whiteout devices in what is mounted of it."""
    below = make_tree(plain.directory / "below", {"lower/": "", "upper/": "", "work/": ""})
    layers = ",".join(f"{path.name}dir={path}" for path in below.iterdir())
    subprocess.run(["mount", "-t", "overlay", "-o", layers, "none", plain.store], check=True)
    try:
        plain.add(FILES)
        assert plain.try_build(BASE, "-t", "base").status == 0
        for name in ("replaces", "deletes", "renames"):
            text = f"FROM base\nRUN {STEPS[name]}\n"
            ended = plain.try_build(text, "-t", name)
            assert ended.status == 0, ended.stderr
            assert ended.stdout == builders["root"].try_build(text).stdout
            # Another layer over whiteouts, from the blobs.
            assert plain.try_build(f"FROM {name}\nRUN ls -R /t > /said || :\n").status == 0
    finally:
        subprocess.run(["umount", plain.store], check=True)


@pytest.mark.needs_program("dnf", "rpm")
def test_a_bootstrap_leads_to_the_same_image_with_and_without_namespaces(
    as_root: Pybuild, plain: Pybuild, hello_repository: Path
) -> None:
    options = "--releasever=1 --repo=id=hello,url=repo --key=RPM-GPG-KEY-hello"
    text = f"FROM scratch\nBOOTSTRAP {options} hello-system hello-release busybox\n"
    text += f"RUN rm /etc/os-release; ls -l /usr > /said\nBOOTSTRAP {options} hello\n"
    digests = set()
    for pybuild in (as_root, plain):
        shutil.copytree(hello_repository, pybuild.context, dirs_exist_ok=True)
        ended = pybuild.try_build(text)
        assert ended.status == 0, ended.stderr
        digests.add(ended.stdout)
    assert len(digests) == 1


# --- What is asked for


def test_auto_says_once_that_it_is_chroot_why_and_how_to_silence_it(plain: Pybuild) -> None:
    ended = plain.try_build(f"{SHELL}RUN true\nRUN true\n")
    lines = [line for line in ended.stderr.splitlines() if "chroot" in line]
    assert len(lines) == 1
    for word in (WARNING, "without CAP_SYS_ADMIN", "--isolation=chroot", "/proc"):
        assert word in lines[0]


def test_the_sandbox_is_tried_once_and_again_where_something_else_has_a_say(
    as_root: Pybuild,
) -> None:
    text = f"{SHELL}RUN true\n"
    record = as_root.store / "known/sandbox"
    as_root.build(text)
    first = record.stat()
    assert WARNING not in as_root.try_build(text, "--no-cache").stderr
    assert record.stat().st_mtime_ns == first.st_mtime_ns
    confined = replace(as_root, launcher=PLAIN_CONTAINER)
    ended = confined.try_build(text, "--no-cache")
    assert ended.status == 0, ended.stderr
    assert WARNING in ended.stderr, "what was found out with other rights does not count"
    fewer = replace(as_root, launcher=("setpriv", "--bounding-set=-sys_time"))
    assert fewer.try_build(text, "--no-cache").status == 0
    assert record.stat().st_mtime_ns != first.st_mtime_ns


@pytest.mark.parametrize("how", ["option", "variable"])
def test_chroot_that_is_asked_for_needs_no_warning(pybuild: Pybuild, how: str) -> None:
    text = f"{SHELL}RUN ls /proc > /a\n"
    if how == "option":
        image = pybuild.build(text, "--isolation", "chroot")
    else:
        image = pybuild.build(text, env={"PYBUILD_ISOLATION": "chroot"})
    assert image.read("a") == b""
    assert WARNING not in pybuild.try_build(text, "--isolation=chroot", "--no-cache").stderr


def test_the_option_beats_the_variable(pybuild: Pybuild) -> None:
    text = f"{SHELL}RUN ls -d /proc/self > /a\n"
    env = {"PYBUILD_ISOLATION": "chroot"}
    assert pybuild.build(text, "--isolation=oci", env=env).read("a") == b"/proc/self\n"


def test_namespaces_that_cannot_be_had_are_status_6_with_a_hint(plain: Pybuild) -> None:
    ended = plain.try_build("FROM scratch\nCOPY Containerfile /\n", "--isolation=namespaces")
    assert ended.status == 6
    assert "CAP_SYS_ADMIN" in ended.stderr
    assert "hint: docker run --cap-add SYS_ADMIN" in ended.stderr


@pytest.mark.parametrize("given", ["option", "variable"])
def test_an_unknown_isolation_is_status_2(pybuild: Pybuild, given: str) -> None:
    arguments = ["--isolation=jail"] if given == "option" else []
    env = {"PYBUILD_ISOLATION": "jail"} if given == "variable" else {}
    ended = pybuild.try_build("FROM scratch\n", *arguments, env=env)
    assert ended.status == 2
    assert "'jail': auto, namespaces or chroot" in ended.stderr


def test_no_network_cannot_be_had_and_is_refused_before_anything_is_done(plain: Pybuild) -> None:
    ended = plain.try_build(f"{SHELL}RUN --network=none true\n")
    assert ended.status == 6
    assert "Containerfile:4:1: --network=none needs a network namespace" in ended.stderr
    assert "#1" not in ended.stderr


def test_without_the_right_to_chroot_either_it_is_status_6(plain: Pybuild) -> None:
    plain.write(f"{SHELL}RUN true\n")
    argv = [*PLAIN_CONTAINER, "setpriv", "--bounding-set=-sys_chroot", *command("pybuild")]
    ended = run([*argv, str(plain.context)], env=plain.environment(), cwd=plain.work)
    assert (ended.status, "Traceback" in ended.stderr) == (6, False), ended.stderr


def test_pyrun_says_that_it_needs_namespaces_and_what_to_change(
    plain: Pybuild, busybox: Path
) -> None:
    ended = run([*PLAIN_CONTAINER, *command("pyrun"), busybox], env=plain.environment())
    assert ended.status == 125
    assert ended.stderr.startswith("pyrun: namespaces are needed, and this process may make none")
    assert "hint: docker run --cap-add SYS_ADMIN" in ended.stderr
    assert ended.stderr.count("\n") == 2


# --- The process of a RUN


def test_run_has_dockers_capabilities_no_more_descriptors_and_its_own_session(
    plain: Pybuild,
) -> None:
    process = plain.start(f"{SHELL}RUN exec sleep 1000\n", "--isolation=chroot")
    try:
        while not (found := [p for p in processes(plain.store) if "sleep\x001000\x00" in p]):
            assert process.poll() is None, plain.log
        pid = found[0].split()[0]
        status = Path(f"/proc/{pid}/status").read_text()
        assert "CapEff:\t00000000a80425fb" in status
        assert "CapInh:\t0000000000000000" in status
        assert "NoNewPrivs:\t0" in status
        assert sorted(os.listdir(f"/proc/{pid}/fd")) == ["0", "1", "2"]
        assert os.getsid(int(pid)) not in (process.pid, os.getsid(0))
    finally:
        process.kill()
        process.wait()


def test_a_user_that_is_not_root_has_no_capabilities(plain: Pybuild) -> None:
    plain.add({"accounts/passwd": PASSWD, "accounts/group": GROUP})
    text = f"{SHELL}COPY accounts /etc/\nRUN mkdir -m 1777 /tmp\nUSER alice\n"
    image = plain.build(f"{text}RUN ! chown 0 /etc/passwd && id > /tmp/a\n")
    assert image.read("tmp/a").startswith(b"uid=1000(alice)")


@pytest.mark.parametrize(
    "script",
    [
        "sleep 1000 &",
        "(setsid sh -c 'trap \"\" TERM HUP; sleep 1000 & sleep 1000' &) ;",
        "(setsid sh -c '(setsid sleep 1000 >/dev/null 2>&1 </dev/null &)' &) ;",
        "(setsid sh -c 'while :; do (setsid sleep 9 &); sleep 0.01; done' &) ;",
    ],
    ids=["background", "session", "twice", "breeding"],
)
def test_nothing_that_a_run_started_outlives_it(plain: Pybuild, script: str) -> None:
    image = plain.build(f"{SHELL}RUN {script} sleep 0.2; echo done > /a\n")
    assert processes(plain.store) == []
    assert image.read("a") == b"done\n"


def test_a_network_file_that_a_step_replaces_is_the_images(plain: Pybuild) -> None:
    """In namespaces it could not: there is a mount in its place."""
    plain.add({"e/hosts": "mine", "e/resolv.conf": "mine"})
    text = f"{SHELL}COPY e /etc/\nRUN rm /etc/hosts; echo 1 > /etc/n; mv /etc/n /etc/resolv.conf\n"
    image = plain.build(text)
    assert list(image.layer()) == ["etc", "etc/.wh.hosts", "etc/resolv.conf"]
    assert image.read("etc/resolv.conf") == b"1\n"


def test_without_mknod_null_is_a_file_that_takes_what_is_written(plain: Pybuild) -> None:
    plain.write(f"{SHELL}RUN echo 1 > /dev/null && test -f /dev/null && echo ok > /a\n")
    argv = [*PLAIN_CONTAINER, "setpriv", "--bounding-set=-mknod", *command("pybuild")]
    ended = run([*argv, str(plain.context)], env=plain.environment(), cwd=plain.work)
    assert ended.status == 0, ended.stderr
    assert list(Image(plain.output).layer()) == ["a"]


@pytest.mark.parametrize("link", ["/none", "../../../../../../../etc", "t"])
def test_a_link_of_the_image_leads_nothing_outside_of_it(plain: Pybuild, link: str) -> None:
    plain.add({"l/etc": Path(link), "l/dev": Path("/"), "t/x": ""})
    before = os.stat("/etc")
    ended = plain.try_build(f"{SHELL}COPY l /\nCOPY t /t\nRUN touch /a\n")
    assert ended.status in (0, 1)
    assert "Traceback" not in ended.stderr
    assert "internal error" not in ended.stderr
    assert os.stat("/etc").st_mtime_ns == before.st_mtime_ns
    if ended.status == 0:
        assert list(Image(plain.output).layer()) == ["a"]


# --- Ends


@pytest.mark.parametrize(
    "step",
    ["COPY big /", "RUN dd if=/dev/zero of=/big bs=1M count=20", "COPY half /\nRUN cp /half /o"],
)
def test_a_full_store_is_one_clear_error_and_leaves_nothing(plain: Pybuild, step: str) -> None:
    plain.add({"big": b"x" * 20_000_000, "half": b"y" * 1_500_000})
    options = ["-t", "tmpfs", "-o", "size=8m", "none", str(plain.store)]
    subprocess.run(["mount", *options], check=True)
    try:
        assert plain.try_build("FROM scratch\nCOPY Containerfile /\n").status == 0
        ended = plain.try_build(f"{SHELL}{step}\n")
        assert ended.status in (1, 5), ended.stderr
        assert "No space left on device" in ended.stderr
        assert "internal error" not in ended.stderr
        assert os.listdir(plain.store / "tmp") == []
        assert plain.steps("FROM scratch\nCOPY Containerfile /\n") != []
    finally:
        subprocess.run(["umount", plain.store], check=True)


def test_a_build_leaves_the_machine_as_it_was(plain: Pybuild) -> None:
    plain.build(f"{SHELL}RUN > /a\n")
    assert processes(plain.directory) == []
    assert mounts(plain.directory) == []
    assert os.listdir(plain.store / "tmp") == []
