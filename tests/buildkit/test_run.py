"""RUN, through `pybuild`: its process, its surroundings, what it leaves in the layer."""

from __future__ import annotations

import os
import re

import pytest

from tests.buildkit.support import SHELL, Image, Pybuild, modes, text_files
from tests.support import GROUP, PASSWD, run

ACCOUNTS = "COPY accounts /etc/\n"


def _said(pybuild: Pybuild, text: str) -> str:
    """Standard output of the RUN that a text ends in."""
    (line,) = pybuild.build(f"{SHELL}{text} > /said\n").read("said").decode().splitlines() or [""]
    return line


def test_run_changes_the_image(anybody: Pybuild) -> None:
    image = anybody.build(f"{SHELL}RUN mkdir -m 711 /d && echo 1 > /d/f && chown 5:6 /d/f\n")
    layer = image.layer()
    assert list(layer) == ["d", "d/f"]
    assert (modes(image)["d"], modes(image)["d/f"]) == ("0:0 711", "5:6 644")


def test_what_run_removes_is_white_in_its_layer(anybody: Pybuild) -> None:
    anybody.add({"d/x": "", "d/y": "", "e/z": ""})
    text = f"{SHELL}COPY d /d\nCOPY e /e\nRUN rm /d/x && rm -r /e && mkdir /e && touch /e/new\n"
    layer = anybody.build(text).layer()
    assert sorted(layer) == ["d", "d/.wh.x", "e", "e/.wh..wh..opq", "e/new"]


def test_a_run_that_changes_nothing_makes_no_layer(anybody: Pybuild) -> None:
    image = anybody.build(f"{SHELL}RUN true\n")
    assert len(image.layers) == 2
    assert image.config["history"][-1]["empty_layer"] is True


def test_run_sees_env_and_arguments(pybuild: Pybuild) -> None:
    assert _said(pybuild, "ARG a=1 b=2\nENV b=3 c=$a\nRUN echo $a $b $c $d-") == "1 3 1 -"


def test_a_build_argument_reaches_run(pybuild: Pybuild) -> None:
    image = pybuild.build(f"{SHELL}ARG a=1\nRUN echo $a > /said\n", "--build-arg", "a=2")
    assert image.read("said") == b"2\n"
    assert not any("a=2" in item for item in image.process.get("Env", ()))


@pytest.mark.parametrize(
    ("who", "expected"),
    [
        ("alice", "uid=1000(alice) gid=1000(alice) groups=10(wheel),50(staff)"),
        ("alice:staff", "uid=1000(alice) gid=50(staff)"),
        ("2", "uid=2(bin) gid=2"),
        ("5", "uid=5 gid=0(root)"),
        ("5:6", "uid=5 gid=6"),
    ],
)
def test_run_is_the_user_that_was_asked_for(anybody: Pybuild, who: str, expected: str) -> None:
    anybody.add({"accounts/passwd": PASSWD, "accounts/group": GROUP})
    said = _said(anybody, f"{ACCOUNTS}RUN touch /said && chmod 666 /said\nUSER {who}\nRUN id")
    assert said == expected


def test_an_unknown_user_is_an_error_at_its_run(pybuild: Pybuild) -> None:
    ended = pybuild.try_build(f"{SHELL}USER ghost\nRUN true\n")
    assert ended.status in (1, 6)
    assert "user 'ghost': not in the image's /etc/passwd" in ended.stderr
    assert "Containerfile:5:1" in ended.stderr


def test_run_starts_in_the_working_directory(pybuild: Pybuild) -> None:
    assert _said(pybuild, "WORKDIR /a/b\nRUN pwd") == "/a/b"


def test_workdir_belongs_to_the_user_and_an_existing_one_stays_as_it_is(
    anybody: Pybuild,
) -> None:
    anybody.add({"accounts/passwd": PASSWD, "old/x": ""})
    text = (
        f"FROM scratch\n{ACCOUNTS}COPY --chmod=700 old /old/\n"
        "USER alice\nWORKDIR /old\nWORKDIR /n\nUSER 7\nWORKDIR /number\n"
    )
    found = modes(anybody.build(text))
    assert (found["old"], found["n"]) == ("0:0 700", "1000:1000 755")
    assert found["number"] == "7:7 755", "a number alone is the group as well, as for --chown"


def test_a_heredoc_is_the_script(pybuild: Pybuild) -> None:
    text = f"{SHELL}RUN <<E\nset -e\nx=1\necho $x > /a\nE\nRUN cat <<F > /b\n1 $((1+1))\nF\n"
    assert text_files(pybuild.build(text)) == {"a": "1\n", "b": "1 2\n"}


def test_the_exec_form_needs_no_shell(pybuild: Pybuild) -> None:
    text = 'FROM scratch\nCOPY busybox /bin/\nRUN ["/bin/busybox", "mkdir", "$HOME x"]\n'
    assert list(pybuild.build(text).layer()) == ["$HOME x"]


def test_the_shell_instruction_chooses_the_shell(pybuild: Pybuild) -> None:
    text = f'{SHELL}SHELL ["sh", "-ec"]\nRUN false; touch /a\n'
    assert pybuild.try_build(text).status == 1


# --- A step that fails


def test_a_failing_run_is_status_1_with_its_place_and_its_last_lines(anybody: Pybuild) -> None:
    ended = anybody.try_build(f"{SHELL}RUN seq 30; echo oh >&2; exit 7\n")
    assert ended.status == 1
    log = ended.stderr.split("------\n")[1]
    assert log == "".join(f" > {n}\n" for n in (*range(12, 31), "oh"))
    assert re.search(r"Containerfile:4:1: .*exited with status 7\n +4 \| RUN seq", ended.stderr)


def test_a_failing_run_leaves_store_and_earlier_output_as_they_were(anybody: Pybuild) -> None:
    anybody.build(f"{SHELL}RUN echo 1 > /a\n")
    before, files = os.stat(anybody.output), anybody.store_files()
    ended = anybody.try_build(f"{SHELL}RUN echo 2 > /a; exit 1\n")
    assert ended.status == 1
    assert os.stat(anybody.output) == before
    assert anybody.store_files() == files
    assert os.listdir(anybody.store / "tmp") == []


@pytest.mark.parametrize(
    ("run", "message"),
    [
        ("RUN nonsense", "exited with status 127"),
        ("RUN sleep 9 & kill -9 $!; wait $!", "exited with status 137"),
        ("RUN /dev", "exited with status 126"),
        ('RUN ["/none"]', "/none"),
    ],
)
def test_how_a_run_failed_is_said(pybuild: Pybuild, run: str, message: str) -> None:
    ended = pybuild.try_build(f"{SHELL}{run}\n")
    assert ended.status == 1
    assert message in ended.stderr
    assert "Containerfile:4:1:" in ended.stderr


def test_output_that_is_not_utf8_is_shown_as_far_as_it_is(pybuild: Pybuild) -> None:
    ended = pybuild.try_build(f"{SHELL}RUN printf 'a\\377b'; exit 1\n")
    assert ended.status == 1
    assert " > a\N{REPLACEMENT CHARACTER}b\n" in ended.stderr


def test_of_a_line_that_is_drawn_over_only_the_last_state_is_shown(pybuild: Pybuild) -> None:
    ended = pybuild.try_build(f"{SHELL}RUN printf '10%%\\r100%%\\n'\n")
    assert re.search(r"^#3 [0-9.]+ 100%$", ended.stderr, re.MULTILINE)


def test_a_background_process_does_not_outlive_its_run(anybody: Pybuild) -> None:
    image = anybody.build(f"{SHELL}RUN sleep 1000 >/dev/null 2>&1 & echo done > /a\n")
    assert image.read("a") == b"done\n"


# --- Hygiene


def test_run_leaves_no_mount_points_and_no_network_files(anybody: Pybuild) -> None:
    proc = "/proc" if anybody.launcher else "/proc/self"  # chroot gives it no content
    image = anybody.build(f"{SHELL}RUN ls {proc} /dev/null /sys /etc/hosts && touch /a\n")
    assert list(image.layer()) == ["a"]


def test_the_images_own_network_files_are_hidden_and_kept(anybody: Pybuild) -> None:
    anybody.add({"e/hosts": "mine", "e/resolv.conf": "mine"})
    text = (
        f"{SHELL}COPY e /etc/\nRUN grep -c mine /etc/hosts > /a; grep localhost /etc/hosts > /b\n"
    )
    image = anybody.build(text)
    assert image.read("a") == b"0\n"
    assert b"127.0.0.1" in image.read("b")
    assert (image.read("etc/hosts"), list(image.layer())) == (b"mine", ["a", "b"])


def test_no_attribute_of_the_overlay_reaches_a_layer(anybody: Pybuild) -> None:
    anybody.add({"d/x": "", "d/y": ""})
    text = f"{SHELL}COPY d /d\nRUN mv /d /e && mkdir /d && chmod 700 /bin && ln /e/x /e/z\n"
    entries = anybody.build(text).files.values()
    assert [entry.name for entry in entries if entry.pax_headers] == []


@pytest.mark.parametrize("umask", ["077", "000"])
def test_the_callers_umask_means_nothing(anybody: Pybuild, umask: str) -> None:
    text = f"{SHELL}RUN umask > /said; touch /f; mkdir -p /d /etc/x\n"
    anybody.write(text)
    argv = ["sh", "-c", f'umask {umask} && exec "$@"', "sh"]
    ended = run(
        [*argv, *anybody.command, str(anybody.context)],
        caller=anybody.caller,
        env=anybody.environment(),
        cwd=anybody.work,
    )
    assert ended.status == 0, ended.stderr
    image = Image(anybody.output)
    assert image.read("said") == b"0022\n"
    found = modes(image)
    assert [found[n] for n in ("f", "d", "etc", "etc/x")] == ["0:0 644", *["0:0 755"] * 3]


def test_run_has_no_network_where_none_is_asked_for(pybuild: Pybuild) -> None:
    text = f"{SHELL}RUN --network=none ls /sys/class/net > /a\n"
    assert pybuild.build(text).read("a") == b"lo\n"


def test_a_proxy_reaches_run_and_no_document(pybuild: Pybuild) -> None:
    image = pybuild.build(
        f"{SHELL}RUN echo $HTTP_PROXY | wc -c > /a\n", "--build-arg", "HTTP_PROXY=http://canary:1"
    )
    assert image.read("a") == b"16\n"
    assert not any(b"canary" in content for content in image.members.values())
