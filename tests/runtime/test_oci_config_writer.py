"""config.json written: it reads back as the same Spec, and other runtimes take it."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.errors import ConfigError
from runtime.oci import config_linux, config_process, config_seccomp
from runtime.oci.config import parse_config
from runtime.oci.config_document import MAX_ID
from runtime.oci.config_process import parse_process
from runtime.oci.config_resources import parse_resources
from runtime.oci.config_resources_writer import resources_to_json
from runtime.oci.config_writer import process_to_json, to_json
from runtime.oci.default_spec import example_spec
from runtime.oci.resources import (
    CPU,
    BlockIO,
    DeviceRule,
    HugepageLimit,
    Memory,
    Network,
    NetworkPriority,
    RdmaLimit,
    Resources,
    ThrottleDevice,
    WeightDevice,
)
from runtime.oci.seccomp import Seccomp, SyscallArgument, SyscallRule
from runtime.oci.spec import (
    VERSION,
    Capabilities,
    Device,
    Hook,
    Hooks,
    IDMapping,
    IOPriority,
    Mount,
    Namespace,
    Process,
    Rlimit,
    Root,
    Scheduler,
    Spec,
    TimeOffset,
    User,
)
from runtime.sandbox.capabilities import NAMES
from tests.runtime.oci_configs import CONFIGS, FULL
from tests.support import BUSYBOX, Caller, Result, run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SCHEMA = Path("/usr/share/gocode/src/github.com/opencontainers/runtime-spec/schema")

# --- any Spec -------------------------------------------------------------------------------

_characters = st.characters(codec="utf-8", exclude_characters="\0")
_text = st.text(_characters, max_size=8) | st.just("\udcfe")
_word = st.text(_characters, min_size=1, max_size=8)
_line = _text.filter(lambda text: "\n" not in text)
_path = _line.map(lambda text: "/" + text)
_texts = st.lists(_text, max_size=3).map(tuple)
_env = st.lists(_text.map(lambda text: f"N={text}"), max_size=3).map(tuple)
_id = st.integers(0, MAX_ID)
_u16, _u32, _u64 = (st.integers(0, 2**bits - 1) for bits in (16, 32, 64))
_i64 = st.integers(-(2**63), 2**63 - 1)
_limit = st.integers(-1, 2**63 - 1)
_bool = st.booleans()
_major, _minor = st.integers(0, 4095), st.integers(0, 2**20 - 1)
_names = st.frozensets(st.sampled_from(NAMES), max_size=4)


def _maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


def _some(strategy: st.SearchStrategy[Any], **choices: Any) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(strategy, max_size=2, **choices).map(tuple)


def _pairs(
    keys: st.SearchStrategy[str], values: st.SearchStrategy[str]
) -> st.SearchStrategy[tuple[tuple[str, str], ...]]:
    return st.dictionaries(keys, values, max_size=3).map(lambda table: tuple(table.items()))


@st.composite
def _mappings(draw: st.DrawFn, least: int = 1) -> tuple[IDMapping, ...]:
    """Ranges side by side on either side, in different orders."""
    sizes = draw(st.lists(st.integers(1, 70000), min_size=least, max_size=3))
    inside, outside = draw(st.integers(0, 100)), draw(st.integers(0, 2**31))
    mappings = []
    for size in sizes:
        mappings.append(IDMapping(container_id=inside, host_id=outside, size=size))
        inside, outside = inside + size, outside + size + 1
    return tuple(draw(st.permutations(mappings)))


@st.composite
def _schedulers(draw: st.DrawFn) -> Scheduler:
    policy = draw(st.sampled_from(config_process.SCHEDULER_POLICIES))
    realtime, deadline = policy in ("SCHED_FIFO", "SCHED_RR"), policy == "SCHED_DEADLINE"
    times = _u64 if deadline else st.just(0)
    return Scheduler(
        policy=policy,
        nice=draw(st.integers(-20, 19)),
        priority=draw(st.integers(1, 99)) if realtime else 0,
        flags=draw(_some(st.sampled_from(config_process.SCHEDULER_FLAGS))),
        runtime=draw(times),
        deadline=draw(times),
        period=draw(times),
    )


_rlimits = st.builds(
    lambda kind, low, more: Rlimit(type=kind, soft=low, hard=min(low + more, 2**64 - 1)),
    st.sampled_from(config_process.RLIMITS),
    _u64,
    _u64,
)
_cpus = st.sampled_from(["", "0", "0-3", "0-1,7", "5,8191"])
_processes = st.builds(
    Process,
    args=st.lists(_text, min_size=1, max_size=3).map(tuple),
    env=_env,
    cwd=_path,
    user=st.builds(
        User, uid=_id, gid=_id, umask=_maybe(st.integers(0, 0o777)), additional_gids=_some(_id)
    ),
    terminal=_bool,
    console_size=_maybe(st.tuples(_u16, _u16)),
    capabilities=st.builds(
        Capabilities,
        bounding=_names,
        permitted=_names,
        effective=_names,
        inheritable=_names,
        ambient=_names,
    ),
    no_new_privileges=_bool,
    rlimits=_some(_rlimits, unique_by=lambda limit: limit.type),
    oom_score_adj=_maybe(st.integers(-1000, 1000)),
    scheduler=_maybe(_schedulers()),
    io_priority=_maybe(
        st.builds(
            IOPriority,
            io_class=st.sampled_from(config_process.IO_CLASSES),
            priority=st.integers(0, 7),
        )
    ),
    cpu_affinity=_maybe(st.tuples(_cpus, _cpus)),
)

_rates = _some(st.builds(ThrottleDevice, major=_major, minor=_minor, rate=_u64))
_accesses = st.sets(st.sampled_from("rwm"), min_size=1)
_resources = st.builds(
    Resources,
    devices=_some(
        st.builds(
            DeviceRule,
            allow=_bool,
            type=st.sampled_from("abc"),
            major=_maybe(_major),
            minor=_maybe(_minor),
            access=_accesses.map(lambda letters: "".join(c for c in "rwm" if c in letters)),
        )
    ),
    memory=st.builds(
        Memory,
        limit=_maybe(_limit),
        reservation=_maybe(_limit),
        swap=_maybe(_limit),
        kernel=_maybe(_limit),
        kernel_tcp=_maybe(_limit),
        swappiness=_maybe(st.integers(0, 100)),
        disable_oom_killer=_maybe(_bool),
        use_hierarchy=_maybe(_bool),
        check_before_update=_bool,
    ),
    cpu=st.builds(
        CPU,
        shares=_maybe(_u64),
        quota=_maybe(_i64),
        burst=_maybe(_u64),
        period=_maybe(_u64),
        realtime_runtime=_maybe(_i64),
        realtime_period=_maybe(_u64),
        cpus=_maybe(_word),
        mems=_maybe(_word),
        idle=_maybe(st.integers(0, 1)),
    ),
    pids_limit=_maybe(_limit),
    block_io=st.builds(
        BlockIO,
        weight=_maybe(_u16),
        leaf_weight=_maybe(_u16),
        weight_devices=_some(
            st.builds(
                WeightDevice, major=_major, minor=_minor, weight=_maybe(_u16), leaf_weight=_u16
            )
        ),
        read_bps=_rates,
        write_bps=_rates,
        read_iops=_rates,
        write_iops=_rates,
    ),
    hugepage_limits=_some(
        st.builds(HugepageLimit, page_size=st.sampled_from(["2MB", "1GB", "64KB"]), limit=_u64)
    ),
    network=st.builds(
        Network,
        class_id=_maybe(_u32),
        priorities=_some(
            st.builds(NetworkPriority, name=st.sampled_from(["lo", "eth0"]), priority=_u32)
        ),
    ),
    rdma=_some(
        st.builds(
            RdmaLimit,
            device=st.sampled_from(["mlx5_1", "a"]),
            hca_handles=_maybe(_u32),
            hca_objects=_u32,
        ),
        unique_by=lambda limit: limit.device,
    ),
    unified=_pairs(st.sampled_from(["memory.high", "io.max", "hugetlb.2MB.max"]), _text),
)

_arguments = st.builds(
    SyscallArgument,
    index=st.integers(0, 5),
    value=_u64,
    value_two=_u64,
    op=st.sampled_from(config_seccomp.OPERATORS),
)
_actions = st.sampled_from([a for a in config_seccomp.ACTIONS if a != "SCMP_ACT_NOTIFY"])


def _errno(action: str) -> st.SearchStrategy[int | None]:
    if action not in ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"):
        return st.none()
    number: st.SearchStrategy[int | None] = _maybe(st.integers(0, 4095))
    return number


@st.composite
def _filters(draw: st.DrawFn) -> Seccomp:
    def rule() -> SyscallRule:
        action = draw(_actions)
        return SyscallRule(
            names=tuple(draw(st.lists(_word, min_size=1, max_size=3))),
            action=action,
            errno_ret=draw(_errno(action)),
            args=draw(_some(_arguments)),
        )

    action = draw(_actions)
    return Seccomp(
        default_action=action,
        default_errno_ret=draw(_errno(action)),
        architectures=draw(_some(st.sampled_from(config_seccomp.ARCHITECTURES))),
        flags=draw(_some(st.sampled_from(config_seccomp.FLAGS))),
        syscalls=tuple(rule() for _ in range(draw(st.integers(0, 2)))),
    )


@st.composite
def _devices(draw: st.DrawFn) -> Device:
    kind = draw(st.sampled_from(config_linux.DEVICE_TYPES))
    return Device(
        path=draw(_path),
        type=kind,
        major=0 if kind == "p" else draw(_major),
        minor=0 if kind == "p" else draw(_minor),
        file_mode=draw(_maybe(st.integers(0, 0o7777))),
        uid=draw(_id),
        gid=draw(_id),
    )


@st.composite
def _mounts(draw: st.DrawFn) -> Mount:
    mapped = draw(_bool)
    return Mount(
        destination=draw(_path),
        type=draw(_text),
        source=draw(_text),
        options=draw(_some(_word.filter(lambda word: word not in ("idmap", "ridmap")))),
        uid_mappings=draw(_mappings()) if mapped else (),
        gid_mappings=draw(_mappings()) if mapped else (),
    )


_hook_list = _some(
    st.builds(
        Hook, path=_path, args=_texts, env=_texts, timeout_s=_maybe(st.integers(1, 2**31 - 1))
    )
)
_hooks = st.builds(
    Hooks,
    prestart=_hook_list,
    create_runtime=_hook_list,
    create_container=_hook_list,
    start_container=_hook_list,
    poststart=_hook_list,
    poststop=_hook_list,
)


@st.composite
def _specs(draw: st.DrawFn) -> Spec:
    kinds = draw(st.sets(st.sampled_from(list(config_linux.NAMESPACES))))
    namespaces = {
        kind: Namespace(type=config_linux.NAMESPACES[kind], path=draw(_maybe(_path)))
        for kind in sorted(kinds)
    }

    def with_namespace(kind: str, strategy: st.SearchStrategy[Any], otherwise: Any) -> Any:
        return draw(strategy) if kind in namespaces else otherwise

    new_time = "time" in namespaces and namespaces["time"].path is None
    least = 1 if "user" in namespaces and namespaces["user"].path is None else 0
    offsets = st.builds(
        TimeOffset,
        clock=st.sampled_from(config_linux.CLOCKS),
        seconds=_i64,
        nanoseconds=st.integers(0, 999_999_999),
    )
    name = st.text(_characters, max_size=16)  # at most four bytes each
    sysctls = st.sampled_from(["net.ipv4.ip_forward", "net.ipv4.conf.eth0/5.forwarding"])
    return Spec(
        process=draw(_processes),
        root=Root(path=draw(_word), readonly=draw(_bool)),
        hostname=with_namespace("uts", name, ""),
        domainname=with_namespace("uts", name, ""),
        mounts=draw(_some(_mounts())),
        hooks=draw(_maybe(_hooks)),
        annotations=draw(_pairs(_word, _text)),
        namespaces=tuple(namespaces.values()),
        uid_mappings=with_namespace("user", _mappings(least), ()),
        gid_mappings=with_namespace("user", _mappings(least), ()),
        time_offsets=draw(_some(offsets, unique_by=lambda o: o.clock)) if new_time else (),
        devices=draw(_some(_devices())),
        cgroups_path=draw(st.sampled_from(["", "/a/b", "a", "system.slice:podman:abc"])),
        resources=draw(_maybe(_resources)),
        rootfs_propagation=draw(st.sampled_from(["", "shared", "rslave", "unbindable"])),
        seccomp=draw(_maybe(_filters())),
        sysctl=with_namespace("network", _pairs(sysctls, _line), ()),
        masked_paths=with_namespace("mount", _some(_path), ()),
        readonly_paths=with_namespace("mount", _some(_path), ()),
        personality=draw(st.sampled_from(["", *config_linux.PERSONALITIES])),
    )


@given(_specs())
@settings(max_examples=60, deadline=None)
def test_any_spec_reads_back_as_it_was_written(spec: Spec) -> None:
    assert parse_config(json.loads(json.dumps(to_json(spec))), "config.json") == spec


@given(_processes)
@settings(max_examples=30, deadline=None)
def test_any_process_reads_back_as_it_was_written(process: Process) -> None:
    assert parse_process(json.loads(json.dumps(process_to_json(process))), "p") == process


@given(_resources)
@settings(max_examples=30, deadline=None)
def test_any_limits_read_back_as_they_were_written(resources: Resources) -> None:
    assert parse_resources(json.loads(json.dumps(resources_to_json(resources))), "r") == resources


# --- what is written ------------------------------------------------------------------------


def test_a_configuration_with_every_member_is_written_as_it_was_read() -> None:
    written = to_json(parse_config(FULL, "config.json"))
    expected = json.loads(json.dumps(FULL))
    # What says nothing is not written.
    del expected["process"]["apparmorProfile"], expected["process"]["selinuxLabel"]
    del expected["process"]["scheduler"]["priority"], expected["linux"]["mountLabel"]
    expected["process"]["capabilities"]["bounding"].sort()
    assert json.loads(json.dumps(written)) == expected


@pytest.mark.parametrize("name", ["podman-4.3.json", "podman-4.3-userns.json"])
def test_podmans_configuration_is_written_as_it_was_read(name: str) -> None:
    document = json.loads((CONFIGS / name).read_text())
    written = json.loads(json.dumps(to_json(parse_config(document, name))))
    for kind in ("effective", "permitted"):  # left out by podman for a user who is not root
        document["process"]["capabilities"].setdefault(kind, [])
    document["ociVersion"] = VERSION
    for device in document["linux"].get("devices", []):
        device["fileMode"] &= 0o7777  # podman writes the type as well
    for rule in document["linux"]["seccomp"]["syscalls"]:
        rule["args"] = [
            {name: value for name, value in argument.items() if value or name != "valueTwo"}
            for argument in rule.get("args", [])
        ]
        if not rule["args"]:
            del rule["args"]
    assert written == document


def test_a_process_whose_user_is_a_name_cannot_be_written() -> None:
    with pytest.raises(ConfigError, match=r"^process\.user: 'alice' is a name"):
        process_to_json(Process(args=("a",), user="alice"))


def test_capabilities_are_written_in_one_order() -> None:
    sets = Capabilities(bounding=frozenset({"SETUID", "CHOWN", "KILL"}))
    written = process_to_json(Process(args=("a",), capabilities=sets))["capabilities"]
    assert written == {
        "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_SETUID"],
        "effective": [],
        "permitted": [],
    }


# --- other runtimes -------------------------------------------------------------------------


@pytest.mark.skipif(not SCHEMA.exists(), reason=f"no {SCHEMA}")
@pytest.mark.parametrize("rootless", [False, True])
@pytest.mark.parametrize("which", ["example", "full"])
def test_what_is_written_is_valid_by_the_schema(rootless: bool, which: str) -> None:
    from jsonschema import Draft4Validator
    from referencing import Registry
    from referencing.jsonschema import DRAFT4

    def retrieve(uri: str) -> Any:
        return DRAFT4.create_resource(json.loads((SCHEMA / Path(uri).name).read_text()))

    registry: Any = Registry(retrieve=retrieve)  # type: ignore[call-arg]
    schema = json.loads((SCHEMA / "config-schema.json").read_text())
    spec = example_spec(rootless=rootless, uid=1000, gid=1000)
    if which == "full":
        spec = parse_config(FULL, "config.json")
        # Younger than the packaged schema.
        kept = tuple(namespace for namespace in spec.namespaces if namespace.type != "time")
        spec = spec.replace(namespaces=kept)
    document = json.loads(json.dumps(to_json(spec)))
    errors = list(Draft4Validator(schema, registry=registry).iter_errors(document))
    assert errors == []
    document["linux"]["namespaces"] = [{"type": "none"}]
    assert list(Draft4Validator(schema, registry=registry).iter_errors(document))


def _bundle(path: Path, spec: Spec) -> Path:
    """A bundle of busybox; its programs are called by their first argument."""
    (path / "rootfs/bin").mkdir(parents=True)
    for name in ("dev", "proc", "sys", "tmp"):
        (path / "rootfs" / name).mkdir()
    shutil.copy(BUSYBOX, path / "rootfs/bin/busybox")
    for name in ("sh", "id", "hostname", "cat"):
        os.symlink("busybox", path / "rootfs/bin" / name)
    document = to_json(spec, version="1.0.2")  # an older crun takes no other
    (path / "config.json").write_text(json.dumps(document))
    return path


_SCRIPT = """
id -u; id -g; hostname; echo $GREETING; grep -E '^(CapBnd|CapEff|NoNewPrivs)' /proc/self/status
ulimit -n; cat /proc/self/oom_score_adj; touch /x 2>&1; exit 7
"""


def _for_a_pipe(spec: Spec, script: str) -> Spec:
    process = spec.process.replace(
        args=("sh", "-c", script),
        env=(*spec.process.env, "GREETING=hello"),
        terminal=False,
        user=User(uid=5 if not spec.uid_mappings else 0, gid=6 if not spec.gid_mappings else 0),
        rlimits=(Rlimit(type="RLIMIT_NOFILE", soft=100, hard=200),),
    )
    return spec.replace(process=process)


# In the hybrid layout crun refuses to work as long as version 2 has a controller.
_UNIFIED = (
    *("unshare", "--mount", "--propagation=private", "sh", "-c"),
    *('mount -t cgroup2 none /sys/fs/cgroup && exec "$@"', "sh"),
)


def _run_bundle(runtime: str, bundle: Path, caller: Caller) -> Result:
    """Run a bundle to its end, as `caller`, who is given it; only root can do so for another."""
    state = bundle / "state"
    state.mkdir()
    for path in (bundle, *bundle.rglob("*")):
        os.chown(path, caller.uid, caller.gid, follow_symlinks=False)
    argv = [runtime, f"--root={state}", "run", f"--bundle={bundle}", bundle.name]
    if not caller.is_root:
        ids = (f"--reuid={caller.uid}", f"--regid={caller.gid}", "--clear-groups")
        argv = ["setpriv", *ids, *argv]
    if runtime == "crun":
        argv = [*_UNIFIED, *argv]
        argv.insert(argv.index("crun") + 1, "--cgroup-manager=disabled")
    return run(argv)


@pytest.mark.needs_root
@pytest.mark.parametrize(
    "runtime",
    [pytest.param(name, marks=pytest.mark.needs_program(name)) for name in ("runc", "crun")],
)
def test_another_runtime_runs_our_example(runtime: str, public: Path) -> None:
    spec = _for_a_pipe(example_spec(rootless=False, uid=0, gid=0), _SCRIPT)
    ended = _run_bundle(runtime, _bundle(public / runtime, spec), Caller("root", 0, 0, "/root"))
    assert ended.stdout.splitlines() == [
        *("5", "6", "pyrun", "hello"),
        *("CapEff:\t0000000000000000", "CapBnd:\t00000000800405fb", "NoNewPrivs:\t1"),
        *("100", "0", "touch: /x: Read-only file system"),
    ], ended.stderr
    assert ended.status == 7


@pytest.mark.needs_root
@pytest.mark.needs_userns
@pytest.mark.needs_program("setpriv")
@pytest.mark.parametrize(
    "runtime",
    [pytest.param(name, marks=pytest.mark.needs_program(name)) for name in ("runc", "crun")],
)
def test_another_runtime_runs_our_rootless_example(
    runtime: str, public: Path, user: Caller
) -> None:
    spec = _for_a_pipe(example_spec(rootless=True, uid=user.uid, gid=user.gid), "id -u; exit 7")
    ended = _run_bundle(runtime, _bundle(public / runtime, spec), user)
    assert (ended.stdout, ended.status) == ("0\n", 7), ended.stderr


def test_the_example_reads_back_as_it_is() -> None:
    for rootless in (False, True):
        spec = example_spec(rootless=rootless, uid=1000, gid=1001)
        assert parse_config(to_json(spec), "config.json") == spec
        assert {ns.type for ns in spec.namespaces} >= {"pid", "mount", "uts", "ipc", "cgroup"}
        assert ("user" in {ns.type for ns in spec.namespaces}) == rootless
        assert spec.process.terminal
        assert spec.process.no_new_privileges
