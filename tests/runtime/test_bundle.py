"""Image configuration and options become a Spec (image-spec conversion.md)."""

from __future__ import annotations

import pytest

from runtime.bundle import Options, to_spec
from runtime.errors import UsageError
from runtime.oci.image import ExecutionParameters

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runtime.oci.spec import Process


def _process(config: ExecutionParameters, options: Options) -> Process:
    return to_spec(config, options).process


# entrypoint of the image, its command | --entrypoint, words after the image | what runs
@pytest.mark.parametrize(
    ("entrypoint", "cmd", "override", "command", "args"),
    [
        (None, ("sh",), None, (), ("sh",)),
        (None, ("sh",), None, ("ls", "-l"), ("ls", "-l")),
        (("app",), ("a", "b"), None, (), ("app", "a", "b")),
        (("app",), ("a", "b"), None, ("c",), ("app", "c")),
        (("app",), ("a",), ("other",), (), ("other",)),
        (("app",), ("a",), ("other",), ("c",), ("other", "c")),
        (("app",), ("a",), (), ("ls",), ("ls",)),
        (("app",), ("a",), (), (), ()),
        (("app",), None, None, (), ("app",)),
    ],
)
def test_the_arguments_are_entrypoint_and_command(
    entrypoint: tuple[str, ...] | None,
    cmd: tuple[str, ...] | None,
    override: tuple[str, ...] | None,
    command: tuple[str, ...],
    args: tuple[str, ...],
) -> None:
    config = ExecutionParameters(entrypoint=entrypoint, cmd=cmd)
    assert _process(config, Options(entrypoint=override, command=command)).args == args


def test_the_options_override_the_images_environment() -> None:
    process = _process(ExecutionParameters(env=("A=1", "B=2")), Options(env=("B=3", "C=4=5")))
    assert {"A=1", "B=3", "C=4=5"} <= set(process.env)
    assert "B=2" not in process.env


def test_a_name_alone_takes_the_callers_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINE", "x")
    monkeypatch.delenv("NOT_SET", raising=False)
    env = _process(ExecutionParameters(), Options(env=("MINE", "NOT_SET"))).env
    assert "MINE=x" in env
    assert not any(item.startswith("NOT_SET") for item in env)


def test_nothing_else_of_the_callers_environment_is_passed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SECRET", "x")
    names = {item.partition("=")[0] for item in _process(ExecutionParameters(), Options()).env}
    assert names == {"PATH", "HOSTNAME"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (Options(env=("=x",)), "-e '=x'"),
        (Options(working_dir="tmp"), "-w 'tmp': an absolute path expected"),
        (Options(volumes=("/tmp",)), "-v '/tmp': SOURCE:DESTINATION"),
        (Options(volumes=("/tmp:relative",)), "-v '/tmp:relative': SOURCE:DESTINATION"),
        (Options(volumes=("/tmp:/x:rx",)), "-v '/tmp:/x:rx': 'rx' is not ro or rw"),
        (Options(volumes=("/tmp:/x:ro:z",)), "-v '/tmp:/x:ro:z': SOURCE:DESTINATION"),
        (Options(volumes=(":/x",)), "-v ':/x': SOURCE:DESTINATION"),
        (Options(volumes=("/tmp:/",)), "-v '/tmp:/': the destination is the root itself"),
        (Options(volumes=("/does/not/exist:/x",)), "-v '/does/not/exist:/x': /does/not/exist"),
        (Options(cap_add=("FLY",)), "unknown capability 'FLY'"),
        (Options(cap_drop=("CAP_FLY",)), "unknown capability 'CAP_FLY'"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused(options: Options, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        _process(ExecutionParameters(), options)
    assert caught.value.message.startswith(message)


@pytest.mark.parametrize(
    ("add", "drop", "has", "lacks"),
    [
        ((), (), "CHOWN", "SYS_ADMIN"),
        (("SYS_ADMIN",), (), "SYS_ADMIN", "SYS_TIME"),
        (("cap_sys_time",), (), "SYS_TIME", "SYS_ADMIN"),
        ((), ("CAP_CHOWN",), "KILL", "CHOWN"),
        (("ALL",), (), "BPF", None),
        (("NET_RAW",), ("ALL",), "NET_RAW", "CHOWN"),
    ],
)
def test_capabilities_are_added_and_dropped(
    add: tuple[str, ...], drop: tuple[str, ...], has: str, lacks: str | None
) -> None:
    granted = _process(ExecutionParameters(), Options(cap_add=add, cap_drop=drop)).capabilities
    assert granted.bounding == granted.permitted == granted.effective
    assert (granted.inheritable, granted.ambient) == (frozenset(), frozenset())
    assert has in granted.bounding
    assert lacks not in granted.bounding
