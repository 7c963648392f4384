"""RUN --mount: what a step sees, and that none of it is in the image."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from buildkit.mount_sources import ssh_source
from buildkit.state import Settings
from buildkit.steps import RunMount
from buildkit.supplies import Agent, Supplies
from grammar import Span
from grammar.values.mounts import SshMount
from tests.buildkit.support import SHELL, Image, Pybuild, add_program, modes, text_files

OUT = f"{SHELL}RUN mkdir /out\n"


def _layer(image: Image) -> list[str]:
    """Names in the highest layer."""
    return sorted(image.layer())


# --- Nothing is left


@pytest.mark.parametrize(
    "mount",
    [
        "type=bind,target=/x/y/z",
        "type=bind,source=d/f,target=/x/y/z",
        "type=bind,from=other,target=/x/y",
        "type=cache,target=/root/.cache/x",
        "type=tmpfs,target=/tmp/deep/er",
        "type=secret,id=s",
        "type=secret,id=s,target=/etc/deep/secret",
        "type=tmpfs,target=/etc/hosts.d",
        "type=bind,target=/var/run/x",
    ],
)
def test_no_mount_point_gets_into_the_layer(anybody: Pybuild, mount: str) -> None:
    anybody.add({"d/f": "1", "secret": "2"})
    text = f"{SHELL}RUN ln -s /run /bin/run; mkdir /var; ln -s ../run /var/run\n"
    text = f"FROM scratch AS other\nCOPY d /d\n{text}RUN --mount={mount} echo > /made\n"
    image = anybody.build(text, f"--secret=id=s,src={anybody.context}/secret")
    assert _layer(image) == ["made"]


def test_a_mount_point_that_a_layer_had_deleted_stays_deleted(anybody: Pybuild) -> None:
    text = (
        f"{SHELL}RUN mkdir -p /a/b/c && echo 1 > /a/b/c/d && chmod 700 /a\n"
        "RUN rm -r /a/b\n"
        "RUN --mount=type=cache,target=/a/b/c ls /a/b/c > /listed; touch /a/new; "
        "stat -c %a /a >> /listed\n"
    )
    image = anybody.build(text)
    assert _layer(image) == ["a", "a/new", "listed"]
    assert (image.read("listed"), image.layer()["a"].mode & 0o777) == (b"700\n", 0o700)


def test_a_mount_hides_what_the_image_has_there_for_the_step_alone(anybody: Pybuild) -> None:
    anybody.add({"d/f": "bound"})
    text = (
        f"{OUT}RUN mkdir /m && echo image > /m/f\n"
        "RUN --mount=source=d,target=/m cat /m/f > /out/1\nRUN cat /m/f > /out/2\n"
    )
    assert text_files(anybody.build(text)) == {
        "m/f": "image\n", "out/1": "bound", "out/2": "image\n"
    }  # fmt: skip


def test_a_file_cannot_be_mounted_on_a_directory(pybuild: Pybuild) -> None:
    pybuild.add({"f": "1"})
    ended = pybuild.try_build(f"{SHELL}RUN mkdir /m\nRUN --mount=source=f,target=/m true\n")
    assert ended.status == 1
    assert "Containerfile:5:" in ended.stderr
    assert "/m: a file cannot be mounted there, it is a directory in the image" in ended.stderr


# --- bind


def test_the_context_is_shown_as_copy_would_copy_it(anybody: Pybuild) -> None:
    anybody.add({"d/f": "1", "d/hidden": "2", ".containerignore": "d/hidden\n", "d/l": Path("f")})
    (anybody.context / "d/f").chmod(0o754)
    text = (
        f"{OUT}RUN --mount=target=/ctx cd /ctx/d; ls > /out/n; stat -c '%a %u:%g %Y' f >> /out/n\n"
    )
    image = anybody.build(text)
    assert image.read("out/n") == b"f\nl\n754 0:0 315532800\n"


def test_a_change_of_what_is_bound_misses_and_of_other_files_does_not(anybody: Pybuild) -> None:
    text = f"{OUT}RUN --mount=source=d,target=/d cat /d/f > /out/f\n"
    anybody.add({"d/f": "1", "other": "1"})
    anybody.build(text)
    anybody.add({"other": "2"})
    assert anybody.steps(text) == ["CACHED"] * 4
    anybody.add({"d/f": "2"})
    assert anybody.steps(text) == ["CACHED"] * 3 + ["DONE"]
    assert Image(anybody.output).read("out/f") == b"2"


@pytest.mark.parametrize("source", ["other", "busybox.tar"])
def test_a_stage_or_an_image_is_bound_with_all_its_layers(
    anybody: Pybuild, busybox: Path, source: str
) -> None:
    shutil.copy(busybox, anybody.context / "busybox.tar")
    stage = f"{OUT}RUN echo 1 > /out/a; echo 1 > /out/b\nRUN rm /out/a; chown 0:0 /out\n"
    stage = stage.replace("FROM scratch", "FROM scratch AS other")
    folder = "out" if source == "other" else "bin"
    text = f"{stage}{SHELL}RUN --mount=from={source},target=/o,source={folder} ls /o > /seen\n"
    seen = anybody.build(text).read("seen").decode().split()
    assert (seen == ["b"]) if source == "other" else ("busybox" in seen)


@pytest.mark.parametrize("origin", ["", "from=other,"])
def test_what_is_written_to_a_bind_mount_is_discarded(anybody: Pybuild, origin: str) -> None:
    anybody.add({"d/f": "1"})
    text = (
        f"FROM scratch AS other\nCOPY d /d\n{OUT}"
        f"RUN --mount={origin}source=d,target=/d,rw echo 2 > /d/f; touch /d/g; cat /d/f > /out/1\n"
        f"RUN --mount={origin}source=d,target=/d cat /d/f > /out/2; ls /d >> /out/2\n"
    )
    image = anybody.build(text)
    assert (image.read("out/1"), image.read("out/2")) == (b"2\n", b"1f\n")
    assert (anybody.context / "d/f").read_text() == "1"


@pytest.mark.parametrize("anybody", ["root", "user"], indirect=True)
@pytest.mark.parametrize("origin", ["", "from=other,"])
def test_a_bind_mount_is_read_only_unless_it_says_rw(anybody: Pybuild, origin: str) -> None:
    anybody.add({"d/f": "1"})
    run = f"RUN --mount={origin}source=d,target=/d ! touch /d/f && ! touch /d/g\n"
    anybody.build(f"FROM scratch AS other\nCOPY d /d\n{SHELL}{run}")


@pytest.mark.parametrize(
    ("mount", "message"),
    [
        ("source=none,target=/x", "/none: not found in the context"),
        ("from=other,source=none,target=/x", "/none: not found in what from names"),
        ("from=later,target=/x", "from=later: that stage is not an earlier one"),
        ("target=/", "the target of a mount cannot be /"),
        ("target=..", "the target of a mount cannot be /"),
        ("target=/x,u", "RUN --mount with U is not supported"),
    ],
)
def test_a_wrong_bind_is_an_error_at_its_word(pybuild: Pybuild, mount: str, message: str) -> None:
    text = f"FROM scratch AS other\n{SHELL}RUN --mount={mount} true\nFROM scratch AS later\n"
    ended = pybuild.try_build(text, "--target=1")
    assert ended.status in (1, 2)
    assert message in ended.stderr
    assert "Containerfile:5:" in ended.stderr


def test_two_mounts_on_one_place_are_refused(pybuild: Pybuild) -> None:
    text = (
        f"{SHELL}ARG a=/x\nRUN --mount=type=tmpfs,target=$a --mount=type=tmpfs,target=/x/. true\n"
    )
    ended = pybuild.try_build(text)
    assert ended.status == 2
    assert "two mounts on /x" in ended.stderr


# --- cache


COUNT = "echo x >> /c/n; wc -l < /c/n > /n"


def test_a_cache_outlives_the_build_and_is_not_in_the_image(anybody: Pybuild) -> None:
    text = f"{SHELL}RUN --mount=type=cache,target=/c {COUNT}\n"
    for expected in (b"1\n", b"2\n", b"3\n"):
        image = anybody.build(text, "--no-cache")
        assert image.read("n") == expected
        assert _layer(image) == ["n"]
    assert anybody.steps(text) == ["CACHED"] * 3


def test_a_cache_is_known_by_its_id_or_else_by_its_target(anybody: Pybuild) -> None:
    one = f"{SHELL}RUN --mount=type=cache,target=/c {COUNT}\n"
    assert anybody.build(one).read("n") == b"1\n"
    again = anybody.build(one.replace("target=/c", "id=/c,target=/c/"), "--no-cache")
    assert again.read("n") == b"2\n"
    other = one.replace("target=/c", "id=other,target=/c")
    assert anybody.build(other).read("n") == b"1\n"
    elsewhere = other.replace("target=/c", "target=/d").replace("/c/n", "/d/n")
    assert anybody.build(elsewhere).read("n") == b"2\n"


def test_a_new_cache_has_the_mode_and_the_owner_that_are_asked_for(pybuild: Pybuild) -> None:
    mount = "--mount=type=cache,target=/c,mode=0751,uid=5,gid=6"
    text = f"{SHELL}RUN {mount} stat -c '%a %u:%g' /c > /n\n"
    assert pybuild.build(text).read("n") == b"751 5:6\n"


def test_a_cache_starts_with_what_from_has(anybody: Pybuild) -> None:
    anybody.add({"d/f": "1"})
    text = (
        f"FROM scratch AS other\nCOPY --chown=5:6 --chmod=701 d /seed/d\n{SHELL}"
        "RUN --mount=type=cache,from=other,source=/seed,target=/c cat /c/d/f > /n; "
        "stat -c '%u:%g %a' /c > /who; echo 2 > /c/d/f\n"
    )
    image = anybody.build(text)
    assert (image.read("n"), image.read("who")) == (b"1", b"5:6 701\n")
    assert anybody.build(text, "--no-cache").read("n") == b"2\n"


def test_a_link_does_not_lead_out_of_a_cache(anybody: Pybuild) -> None:
    anybody.build(f"{SHELL}RUN --mount=type=cache,target=/c ln -s /etc /c/out\n")
    ended = anybody.try_build(f"{SHELL}RUN --mount=type=cache,source=out,target=/c true\n")
    assert ended.status == 1
    assert "source=/out of the cache: Too many levels of symbolic links" in ended.stderr


def _two(sharing: str, first: str, second: str) -> str:
    mount = f"--mount=type=cache,target=/c,sharing={sharing}"
    base = SHELL.replace("FROM scratch", "FROM scratch AS base")
    return (
        f"{base}FROM base AS s0\nRUN {mount} {first}\nFROM base AS s1\nRUN {mount} {second}\n"
        "FROM scratch\nCOPY --from=s0 /n /0\nCOPY --from=s1 /n /1\n"
    )


AWAIT = "for i in $(seq 300); do test -e %s && break; sleep 0.1; done"


@pytest.mark.parametrize("anybody", ["root", "user"], indirect=True)
def test_a_shared_cache_is_seen_by_two_steps_at_once(anybody: Pybuild) -> None:
    one = f"touch /c/one; {AWAIT % '/c/two'}; ls /c > /n"
    two = f"touch /c/two; {AWAIT % '/c/one'}; ls /c > /n"
    image = anybody.build(_two("shared", one, two), "--jobs=2")
    assert (image.read("0"), image.read("1")) == (b"one\ntwo\n", b"one\ntwo\n")


def test_a_locked_cache_is_for_one_step_at_a_time(anybody: Pybuild) -> None:
    step = "mkdir /c/busy && sleep 0.3 && rmdir /c/busy && echo %d > /n"
    image = anybody.build(_two("locked", step % 1, step % 2), "--jobs=2")
    assert (image.read("0"), image.read("1")) == (b"1\n", b"2\n")


@pytest.mark.parametrize("anybody", ["root", "user"], indirect=True)
def test_a_private_cache_that_is_in_use_is_not_shared(anybody: Pybuild) -> None:
    step = "echo %d > /c/mine; sleep 1; cat /c/mine > /n"
    image = anybody.build(_two("private", step % 1, step % 2), "--jobs=2")
    assert (image.read("0"), image.read("1")) == (b"1\n", b"2\n")


# --- tmpfs


def test_a_tmpfs_is_empty_and_gone_afterwards(anybody: Pybuild) -> None:
    run = "RUN --mount=type=tmpfs,target=/t ls /t > /n; touch /t/x\n"
    text = f"{SHELL}RUN mkdir /t && touch /t/f\n{run}"
    image = anybody.build(text)
    assert (image.read("n"), _layer(image)) == (b"", ["n"])


@pytest.mark.parametrize("anybody", ["root", "user"], indirect=True)
def test_a_tmpfs_has_a_size(anybody: Pybuild) -> None:
    run = "RUN --mount=type=tmpfs,target=/t,size=1m ! dd if=/dev/zero of=/t/f bs=1k count=2000\n"
    anybody.build(f"{SHELL}{run}")


# --- secret


def test_a_secret_is_a_file_that_only_its_owner_reads(anybody: Pybuild) -> None:
    (anybody.context / "s").write_bytes(b"top\0secret")
    run = "RUN --mount=type=secret,id=s stat -c '%a %u:%g %s' /run/secrets/s > /n\n"
    text = f"{SHELL}{run}"
    image = anybody.build(text, f"--secret=id=s,src={anybody.context}/s")
    assert image.read("n") == b"400 0:0 10\n"
    for folder, _, names in os.walk(anybody.store):
        for name in names:
            assert b"top\0secret" not in Path(folder, name).read_bytes()


def test_a_secret_is_a_variable_and_is_shown_nowhere(anybody: Pybuild) -> None:
    run = "RUN --mount=type=secret,id=s,env=TOKEN test $TOKEN = hush$(echo -hush)"
    text = f"{SHELL}{run} && ! ls /run/secrets\n"
    ended = anybody.try_build(text, "--secret=id=s,env=MY", env={"MY": "hush-hush"})
    assert ended.status == 0, ended.stderr
    assert "hush-hush" not in ended.stderr
    assert b"hush-hush" not in anybody.output.read_bytes()


def test_another_secret_does_not_miss(anybody: Pybuild) -> None:
    text = f"{SHELL}RUN --mount=type=secret,id=s,env=T test $T\n"
    anybody.build(text, "--secret=id=s,env=MY", env={"MY": "1"})
    assert anybody.steps(text, "--secret=id=s,env=MY", env={"MY": "2"}) == ["CACHED"] * 3


def test_a_missing_secret_is_not_mounted_unless_it_is_required(anybody: Pybuild) -> None:
    text = f"{SHELL}RUN --mount=type=secret,id=s ! test -e /run/secrets/s\n"
    anybody.build(text)
    ended = anybody.try_build(text.replace("id=s", "id=s,required"), "--no-cache")
    assert ended.status == 1
    assert "Containerfile:4:13: the secret 's' is required" in ended.stderr


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("src=x", "id=NAME[,src=FILE|,env=VARIABLE] expected"),
        ("id=a,src=/no/such", "/no/such: No such file or directory"),
        ("id=a,env=NOT_THERE", "there is no variable NOT_THERE"),
        ("id=a,src=x,env=y", "expected"),
    ],
)
def test_a_wrong_secret_is_refused(pybuild: Pybuild, option: str, message: str) -> None:
    ended = pybuild.try_build("FROM scratch\n", f"--secret={option}")
    assert ended.status == 2
    assert message in ended.stderr


# --- ssh


@contextmanager
def _echo_agent(path: Path, pybuild: Pybuild) -> Iterator[None]:
    """Something that answers at a socket, as an agent does."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    os.chown(path, pybuild.caller.uid, pybuild.caller.gid)
    server.listen()

    def serve() -> None:
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            with client:
                client.sendall(b"answer to " + client.recv(100))

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


def test_an_agents_socket_is_there_with_the_mode_that_is_asked_for(anybody: Pybuild) -> None:
    text = f"{SHELL}RUN --mount=type=ssh,mode=0640 stat -c '%F %a %u' $SSH_AUTH_SOCK > /n\n"
    place = anybody.work / "agent"
    with _echo_agent(place, anybody):
        image = anybody.build(text, f"--ssh=default={place}")
    assert (image.read("n"), _layer(image)) == (b"socket 640 0\n", ["n"])
    assert os.listdir(anybody.store / "tmp") == []


def test_a_missing_agent_is_not_mounted_unless_it_is_required(anybody: Pybuild) -> None:
    text = f'{SHELL}RUN --mount=type=ssh test -z "$SSH_AUTH_SOCK"\n'
    anybody.build(text)
    ended = anybody.try_build(text.replace("type=ssh", "type=ssh,required=true"), "--no-cache")
    assert ended.status == 1
    assert "Containerfile:4:13: the SSH agent 'default' is required" in ended.stderr


@pytest.mark.needs_program("ssh-agent", "ssh-add", "ssh-keygen")
def test_given_keys_are_in_an_agent_of_the_steps_own(anybody: Pybuild) -> None:
    key = anybody.work / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    os.chown(key, anybody.caller.uid, anybody.caller.gid)
    add_program(anybody.context / "root", "ssh-add")
    text = f"{SHELL}COPY root /\nRUN --mount=type=ssh,target=/agent ssh-add -L > /n\n"
    image = anybody.build(text, f"--ssh=default={key}")
    assert image.read("n").split()[:2] == Path(f"{key}.pub").read_bytes().split()[:2]
    assert os.listdir(anybody.store / "tmp") == []


def test_what_a_step_raises_is_not_blamed_on_its_agent(tmp_path: Path) -> None:
    span = Span.within(1, 1)
    mount = SshMount(target="/agent", uid=os.geteuid(), gid=os.getegid())
    agent = Agent(socket=str(tmp_path / "none"))
    supplies = Supplies(agents={"default": agent})
    settings = Settings(context=str(tmp_path), supplies=supplies)
    mounted = RunMount(mount=mount, origin=None, span=span)

    def step() -> None:
        with ssh_source(mounted, mount, settings, str(tmp_path / "socket")) as there:
            assert there
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        step()


# --- Scripts


def test_a_heredoc_with_an_interpreter_is_executed_by_it(anybody: Pybuild) -> None:
    program = "COPY --chmod=755 <<'cat' /cat\n#!/bin/sh\ntail -n 1 \"$1\" > /n\ncat\n"
    text = f"{SHELL}{program}RUN <<E\n#!/cat\nlast\nE\n"
    image = anybody.build(text)
    assert (image.read("n"), _layer(image)) == (b"last\n", ["n"])


def test_what_a_step_makes_beside_its_mounts_is_roots(anybody: Pybuild) -> None:
    text = f"{SHELL}RUN --mount=type=tmpfs,target=/a/b/c touch /a/b/f\n"
    assert modes(anybody.build(text))["a/b/f"] == "0:0 644"
