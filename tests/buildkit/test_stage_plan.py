"""What each instruction makes of the configuration, and which step it becomes."""

from __future__ import annotations

import pytest

from buildkit.run_options import RunOptions
from buildkit.steps import ConfigureStep, RunStep, WorkdirStep
from runtime.oci.image import ExecutionParameters
from runtime.sandbox import defaults
from tests.buildkit.planning import config, faults, plan, run_step, stage

BASE = ExecutionParameters(
    env=("PATH=/opt", "a=1"),
    entrypoint=("/entry",),
    cmd=("base",),
    working_dir="/base",
    labels=(("l", "1"), ("m", "2")),
    user="u",
    volumes=("/v",),
    exposed_ports=("1/tcp",),
    shell=("/bin/ash", "-c"),
)


def test_an_empty_file_keeps_the_configuration_of_its_image() -> None:
    assert config("", base=BASE) == BASE


# --- CMD, ENTRYPOINT, SHELL


@pytest.mark.parametrize(
    ("text", "entrypoint", "cmd"),
    [
        pytest.param('CMD ["x"]', ("/entry",), ("x",), id="CMD keeps the entrypoint"),
        pytest.param('ENTRYPOINT ["e"]', ("e",), None, id="ENTRYPOINT clears an inherited CMD"),
        pytest.param('CMD ["x"]\nENTRYPOINT ["e"]', ("e",), ("x",), id="but not the stage's own"),
        pytest.param('ENTRYPOINT ["e"]\nCMD ["x"]', ("e",), ("x",), id="in either order"),
        pytest.param('CMD ["x"]\nCMD ["y"]', ("/entry",), ("y",), id="the last CMD wins"),
        pytest.param("ENTRYPOINT []", (), None, id="an empty one resets"),
        pytest.param("CMD []", ("/entry",), (), id="an empty CMD resets"),
    ],
)
def test_cmd_and_entrypoint_over_those_of_the_base(
    text: str, entrypoint: tuple[str, ...], cmd: tuple[str, ...] | None
) -> None:
    found = config(text, base=BASE)
    assert (found.entrypoint, found.cmd) == (entrypoint, cmd)


def test_entrypoint_clears_the_cmd_of_the_stage_it_starts_from() -> None:
    text = 'FROM scratch AS a\nCMD ["x"]\nFROM a\nENTRYPOINT ["e"]'
    assert stage(text).config.cmd is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("CMD a $b", ("/bin/sh", "-c", "a $b")),
        ('CMD ["a", "$b"]', ("a", "$b")),
        ('SHELL ["/bin/bash", "-ec"]\nCMD a', ("/bin/bash", "-ec", "a")),
        ("CMD ['a']", ("/bin/sh", "-c", "['a']")),
    ],
)
def test_a_command_in_shell_form_gets_the_shell_and_is_not_expanded(
    text: str, expected: tuple[str, ...]
) -> None:
    assert config(text).cmd == expected


def test_the_shell_is_inherited_and_recorded() -> None:
    assert config("CMD x", base=BASE).cmd == ("/bin/ash", "-c", "x")
    assert config('SHELL ["s"]').shell == ("s",)


# --- ENV, LABEL, USER, VOLUME, STOPSIGNAL, ONBUILD, MAINTAINER


def test_env_values_of_one_instruction_see_the_environment_before_it() -> None:
    assert config("ENV a=2 b=$a", base=BASE).env == ("PATH=/opt", "a=2", "b=1")


def test_env_in_the_old_form_takes_the_rest_of_the_line() -> None:
    assert config("ENV z b  c", base=BASE).env == (*BASE.env, "z=b  c")


def test_a_stage_from_scratch_begins_with_a_path() -> None:
    assert config("USER 0").env == (f"PATH={defaults.PATH}",)
    assert config("ENV PATH=/x a=1").env == ("PATH=/x", "a=1")


def test_a_label_overrides_an_inherited_one_and_keeps_the_others() -> None:
    assert config('ARG k=l\nLABEL $k="3 4" n=5', base=BASE).labels == (
        ("l", "3 4"),
        ("m", "2"),
        ("n", "5"),
    )


@pytest.mark.parametrize("text", ["USER app:staff", "ARG u=app\nUSER ${u}:staff"])
def test_user_is_recorded_as_it_was_written_but_for_variables(text: str) -> None:
    assert config(text).user == "app:staff"


@pytest.mark.parametrize("text", ["VOLUME /a /v /b", 'VOLUME ["/a", "/v"]\nVOLUME /b'])
def test_volumes_add_up(text: str) -> None:
    assert sorted(config(text, base=BASE).volumes) == ["/a", "/b", "/v"]


def test_a_volume_without_a_path_is_an_error() -> None:
    [(line, _, message)] = faults('FROM scratch\nVOLUME [""]')
    assert line == 2
    assert message.startswith("VOLUME ")


@pytest.mark.parametrize("text", ["STOPSIGNAL SIGINT", "ARG s=INT\nSTOPSIGNAL SIG$s"])
def test_the_stop_signal_is_recorded(text: str) -> None:
    assert config(text).stop_signal == "SIGINT"


def test_triggers_are_recorded_in_order_and_not_expanded() -> None:
    text = "ARG a=1\nONBUILD RUN x $a\nONBUILD COPY a b"
    assert config(text).on_build == ("RUN x $a", "COPY a b")


def test_the_maintainer_is_the_author_of_what_follows() -> None:
    steps = stage("FROM scratch\nUSER a\nMAINTAINER me\nUSER b").steps
    assert [step.about.author for step in steps] == ["", "me", "me"]


# --- HEALTHCHECK


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("NONE", {"Test": ["NONE"]}),
        ("CMD a b", {"Test": ["CMD-SHELL", "a b"]}),
        ('CMD ["a", "b"]', {"Test": ["CMD", "a", "b"]}),
        (
            "--interval=1m30s --timeout=2s --start-period=3s --start-interval=4ms --retries=5 "
            "CMD a",
            {
                "Test": ["CMD-SHELL", "a"],
                "Interval": 90_000_000_000,
                "Timeout": 2_000_000_000,
                "StartPeriod": 3_000_000_000,
                "StartInterval": 4_000_000,
                "Retries": 5,
            },
        ),
        ("--interval=0s CMD a", {"Test": ["CMD-SHELL", "a"]}),
    ],
)
def test_a_health_check_is_recorded_in_dockers_words(
    text: str, expected: dict[str, object]
) -> None:
    assert dict(config(f"HEALTHCHECK {text}").healthcheck or ()) == expected


def test_the_last_health_check_wins() -> None:
    found = config("HEALTHCHECK CMD a\nHEALTHCHECK NONE").healthcheck
    assert dict(found or ()) == {"Test": ["NONE"]}


# --- WORKDIR


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("WORKDIR /a", "/a"),
        ("WORKDIR /a/", "/a"),
        ("WORKDIR b", "/base/b"),
        ("WORKDIR b\nWORKDIR c", "/base/b/c"),
        ("WORKDIR ..", "/"),
        ("WORKDIR ../../../x", "/x"),
        ("WORKDIR /a//b/./c/..", "/a/b"),
        ("WORKDIR //a", "/a"),
        ("WORKDIR /", "/"),
        ("ENV d=/x\nWORKDIR $d/y", "/x/y"),
        ('WORKDIR "/with blank"', "/with blank"),
    ],
)
def test_workdir_joins_the_one_before(text: str, expected: str) -> None:
    assert config(text, base=BASE).working_dir == expected


def test_a_relative_workdir_without_another_starts_at_the_root() -> None:
    assert config("WORKDIR a/b").working_dir == "/a/b"


def test_workdir_makes_a_directory_for_the_user_and_the_root_needs_none() -> None:
    steps = stage("FROM scratch\nUSER u\nWORKDIR /a\nWORKDIR /").steps
    assert isinstance(steps[1], WorkdirStep)
    assert (steps[1].path, steps[1].user) == ("/a", "u")
    assert isinstance(steps[2], ConfigureStep)


def test_an_inherited_workdir_is_not_made_again() -> None:
    stages = plan("FROM base\nUSER x", images={"base": BASE}).stages
    assert not [step for step in stages[-1].steps if isinstance(step, WorkdirStep)]


def test_a_workdir_that_expands_to_nothing_is_an_error() -> None:
    assert faults("FROM scratch\nWORKDIR $x") == [(2, 1, "WORKDIR with an empty path")]


# --- RUN


def test_run_takes_user_directory_and_environment_of_its_stage() -> None:
    images = {"base": BASE}
    step = plan("FROM base\nRUN x", images=images).stages[-1].steps[-1]
    assert isinstance(step, RunStep)
    assert (step.user, step.cwd, step.env) == ("u", "/base", ("PATH=/opt", "a=1"))
    assert step.args == ("/bin/ash", "-c", "x")


def test_run_has_a_path_even_if_its_image_sets_none() -> None:
    assert run_step("FROM scratch\nRUN x").env == (
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("RUN a $b && c", ("/bin/sh", "-c", "a $b && c")),
        ('RUN ["a", "$b"]', ("a", "$b")),
        ("RUN <<E\na\nb\nE\n", ("/bin/sh", "-c", "a\nb\n")),
        ("RUN <<-E\n\ta\n\tE\n", ("/bin/sh", "-c", "a\n")),
        ("RUN <<'E'\n$a\nE\n", ("/bin/sh", "-c", "$a\n")),
        ("RUN cat <<E\na\nE\n", ("/bin/sh", "-c", "cat <<E\na\nE\n")),
        (
            "RUN paste <<A - 3<<B\n1\nA\n2\nB\n",
            ("/bin/sh", "-c", "paste <<A - 3<<B\n1\nA\n2\nB\n"),
        ),
        ('SHELL ["python3", "-c"]\nRUN <<E\nprint(1)\nE\n', ("python3", "-c", "print(1)\n")),
    ],
)
def test_what_run_executes(text: str, expected: tuple[str, ...]) -> None:
    assert run_step(f"FROM scratch\n{text}").args == expected


@pytest.mark.parametrize(
    ("flag", "asked", "network"),
    [
        ("", "default", "host"),
        ("", "none", "none"),
        ("--network=default", "none", "none"),
        ("--network=host", "none", "host"),
        ("--network=none", "host", "none"),
    ],
)
def test_a_step_has_the_network_that_it_says_or_else_the_builds(
    flag: str, asked: str, network: str
) -> None:
    step = run_step(f"FROM scratch\nRUN {flag} x")
    assert RunOptions(network=asked).network_of(step) == network


# --- History


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("RUN x", "RUN /bin/sh -c x # buildkit"),
        ("ARG a=1\nARG b\nARG c=3\nRUN x", "RUN |3 a=1 b= c=3 /bin/sh -c x # buildkit"),
        ("ARG a=1\nENV a=2\nRUN x", "RUN |1 a=2 /bin/sh -c x # buildkit"),
        ('RUN ["a", "b"]', "RUN a b # buildkit"),
        ("RUN <<E\nx\nE", "RUN /bin/sh -c x\n # buildkit"),
        ("ENV a=1 b='2 3'", "ENV a=1 b=2 3"),
        ("ENV a=1\nLABEL x=$a", "LABEL x=1"),
        ("ARG a=1 b\nARG c=$a d", "ARG c=1 d"),
        ("WORKDIR a", "WORKDIR /a"),
        ("WORKDIR /", "WORKDIR /"),
        ("ARG s=a\nCOPY  $s   b", "COPY a b # buildkit"),
        ("COPY --chown=1:2 --chmod=u+x --exclude=x a b c/",
         "COPY --chown=1:2 --chmod=u+x a b c/ # buildkit"),
        ("COPY --parents --link a /d", "COPY --parents a /d # buildkit"),
        ("ADD a <<f b\n1\nf", "ADD a <<f b # buildkit"),
        ("ADD https://me:secret@host/x y", "ADD https://host/x y # buildkit"),
        ("CMD a \"b\"", 'CMD ["/bin/sh" "-c" "a \\"b\\""]'),
        ('CMD ["a", "b"]', 'CMD ["a" "b"]'),
        ('ENTRYPOINT ["a"]', 'ENTRYPOINT ["a"]'),
        ('SHELL ["sh", "-ec"]', "SHELL [sh -ec]"),
        ("EXPOSE 81/UDP 80", "EXPOSE [81/udp 80/tcp]"),
        ('VOLUME ["/a", "/b"]', "VOLUME [/a /b]"),
        ("user x", "USER x"),
        ("STOPSIGNAL SIGINT", "STOPSIGNAL SIGINT"),
        ("MAINTAINER me too", "MAINTAINER me too"),
        ("HEALTHCHECK NONE", "HEALTHCHECK &{[\"NONE\"] \"0s\" \"0s\" \"0s\" \"0s\" '\\x00'}"),
        ("HEALTHCHECK --interval=90s --timeout=500ms --start-period=1h --retries=3 CMD x",
         "HEALTHCHECK &{[\"CMD-SHELL\" \"x\"] \"1m30s\" \"500ms\" \"1h0m0s\" \"0s\" '\\x03'}"),
        ("HEALTHCHECK --interval=1500us --retries=100 CMD [\"x\"]",
         "HEALTHCHECK &{[\"CMD\" \"x\"] \"1.5ms\" \"0s\" \"0s\" \"0s\" 'd'}"),
    ],
)  # fmt: skip
def test_the_history_says_what_was_done(text: str, expected: str) -> None:
    assert stage(f"FROM scratch\n{text}").steps[-1].about.created_by == expected


def test_every_instruction_has_its_entry_and_its_place() -> None:
    steps = stage("FROM scratch\nARG a\n\nENV b=1\nLABEL c=d").steps
    assert [step.about.span.line for step in steps] == [2, 4, 5]


# --- What is not built yet


@pytest.mark.parametrize(
    ("text", "column", "what"),
    [
        ("RUN --mount=target=/c,no-dereference x", 13, "RUN --mount with no-dereference"),
        ("RUN --device=vendor/class=x x", 14, "RUN --device"),
    ],
)
def test_what_this_version_does_not_build_is_refused_at_its_place(
    text: str, column: int, what: str
) -> None:
    [(line, found, message)] = faults(f"FROM scratch\n{text}\n")
    assert message == f"{what} is not supported by this version of pybuild"
    assert (line, found) == (2, column)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ARG n=lan\nRUN --network=$n x", "--network=lan: default, none or host"),
        ("RUN []", "RUN with an empty command"),
        ("COPY https://example.com/a b", "COPY takes no URL"),
        ("ARG m=8\nCOPY --chmod=$m a b", "'8' is no octal mode"),
        ("ARG m=17777\nCOPY --chmod=$m a b", "mode '17777' is greater than 7777"),
    ],
)
def test_what_makes_no_sense_is_refused(text: str, message: str) -> None:
    assert [found for _, _, found in faults(f"FROM scratch\n{text}\n")] == [message]
