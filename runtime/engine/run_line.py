"""`pyrun run` and `create`: what they take beside what `pyrun IMAGE` takes."""

from __future__ import annotations

from runtime.command_line import ROOTFS, TABLE, VERIFY, one_of, options_of, platform_of
from runtime.engine.containers import check_name
from runtime.engine.env_file import with_files
from runtime.engine.extras import Extras, take_extras
from runtime.engine.health import OPTIONS as HEALTH_OPTIONS
from runtime.engine.health import RESTART, take_asked
from runtime.engine.record import LOG_FILES, LOG_SIZE, STOP_TIMEOUT_S
from runtime.engine.secret_words import SecretUse, parse_secret, without_clashes
from runtime.errors import UsageError
from runtime.options import OptionTable
from runtime.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runtime.bundle import Options

HELP = """\
usage: pyrun run [OPTIONS] IMAGE [COMMAND...]
       pyrun create [OPTIONS] IMAGE [COMMAND...]

Make a container that has a name, keeps what it writes and says, and is there until `pyrun rm`; and
run it. Options of `pyrun IMAGE`, and:

  -d, --detach               run it beside the caller; print its id
      --name NAME            (default: made up)
      --rm                   remove it when it has ended
  -l, --label NAME=VALUE
      --cidfile FILE         write its id there
      --stop-signal SIGNAL   what `stop` sends (default: TERM)
      --stop-timeout SECONDS until it is killed (default: 10)
      --env-file FILE        variables, one in a line
  -v, --volume NAME:DEST[:ro]
                             a volume (pyrun volume), made if it is missing; DEST alone: one
                             that `rm -v` and --rm remove
      --mount type=bind|volume|tmpfs|image,source=SRC,destination=DEST[,readonly]
      --tmpfs DEST[:OPTIONS] such as size=64m
      --shm-size BYTES       of /dev/shm (default: 64m)
      --device PATH[:DEST[:rwm]]
                             a device of the host
      --log-opt max-size=SIZE, --log-opt max-file=N
                             of its log (default: 10m, 3)
      --health-cmd COMMAND   asked whether it is well, by /bin/sh; or ["WORD", ...]; `none`
      --health-interval, --health-timeout DURATION
                             (default: 30s)
      --health-retries N     failures until it is unhealthy (default: 3)
      --health-start-period, --health-start-interval DURATION
                             failures do not count so long (default: 0s); how often it is asked
                             meanwhile (default: 5s)
      --health-on-failure none|kill|stop|restart
                             what is done when it is unhealthy (default: none)
      --no-healthcheck       not even the image's
      --secret NAME[,type=mount|env][,target=TARGET][,uid=N][,gid=N][,mode=OCTAL]
                             (pyrun secret) a file of a tmpfs, /run/secrets/NAME, or a variable
      --detach-keys KEYS     what leaves it running (default: ctrl-p,ctrl-q)
"""

RUN_TABLE = OptionTable(
    "pyrun run",
    values={
        **TABLE.values,
        "--name": "name",
        "--cidfile": "cidfile",
        "--stop-signal": "stop_signal",
        "--stop-timeout": "stop_timeout",
        "--detach-keys": "detach_keys",
        "--shm-size": "shm_size",
        **HEALTH_OPTIONS,
    },
    lists={
        **TABLE.lists,
        "-l": "labels",
        "--label": "labels",
        "--log-opt": "log_opts",
        "--env-file": "env_files",
        "--mount": "mounts",
        "--tmpfs": "tmpfs",
        "--device": "devices",
        "--secret": "secrets",
    },
    flags={
        **TABLE.flags,
        "-d": "detach",
        "--detach": "detach",
        "--no-healthcheck": "no_healthcheck",
    },
)


class RunLine(Record):
    """A parsed command line of `run` or `create`."""

    image: str
    options: Options
    root: str | None = None
    platform: str = ""
    rootfs: str = ROOTFS[0]
    verify: str = VERIFY[0]
    name: str = ""
    detach: bool = False
    auto_remove: bool = False
    labels: tuple[tuple[str, str], ...] = ()
    cidfile: str = ""
    stop_signal: str = "TERM"
    stop_timeout_s: int = STOP_TIMEOUT_S
    log_size: int = LOG_SIZE
    log_files: int = LOG_FILES
    detach_keys: str = ""
    extras: Extras = Extras()
    health: Any = None  # what replaces members of the image's check; None: no check
    secrets: tuple[SecretUse, ...] = ()
    help: bool = False


def parse_run_line(arguments: list[str]) -> RunLine:
    """Parse; raises UsageError."""
    fields, operands = RUN_TABLE.parse(arguments, operands_end_options=True)
    if fields.get("help"):
        return RunLine(image="", options=options_of({}, ()), help=True)
    if not operands:
        raise UsageError("no image given", hint="pyrun run --help")
    fields.pop("version", None)
    fields["env"] = with_files(fields)
    extras = take_extras(fields)
    size, files = _log_limits(fields.pop("log_opts", ()))
    name = fields.pop("name", "")
    if name:
        check_name(name)
    own = {
        "root": fields.pop("root", None),
        "platform": platform_of(fields.pop("platform", "")),
        "rootfs": one_of(fields, "rootfs", ROOTFS[:-1]),  # in memory nothing outlives a start
        "verify": one_of(fields, "verify", VERIFY),
        "detach": fields.pop("detach", False),
        "auto_remove": fields.pop("rm", False),
        "labels": tuple(_label(text) for text in fields.pop("labels", ())),
        "cidfile": fields.pop("cidfile", ""),
        "stop_signal": _signal_name(fields.pop("stop_signal", "TERM")),
        "stop_timeout_s": whole_number(
            fields.pop("stop_timeout", str(STOP_TIMEOUT_S)), "--stop-timeout"
        ),
        "detach_keys": fields.pop("detach_keys", ""),
        "health": take_asked(fields),
        "secrets": without_clashes(
            tuple(map(parse_secret, fields.pop("secrets", ()))),
            extras.destinations,
        ),
    }
    if own["auto_remove"] and (own["health"] or {}).get("OnFailure") == RESTART:
        raise UsageError("--rm and --health-on-failure restart: it is removed when it ends")
    return RunLine(
        image=operands[0],
        options=options_of(fields, tuple(operands[1:])),
        name=name,
        log_size=size,
        log_files=files,
        extras=extras,
        **own,
    )


def whole_number(text: str, option: str) -> int:
    """A number that is not negative; raises UsageError."""
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise UsageError(f"{option} {text!r}: a number expected")
    return int(text)


def _label(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    if not name:
        raise UsageError(f"--label {text!r}: NAME=VALUE expected")
    return name, value


def _signal_name(text: str) -> str:
    from runtime.lifecycle.cli import signal_number

    signal_number(text)
    return text.upper().removeprefix("SIG")


def _log_limits(texts: tuple[str, ...]) -> tuple[int, int]:
    size, files = LOG_SIZE, LOG_FILES
    for text in texts:
        name, _, value = text.partition("=")
        if name == "max-size":
            from runtime.limits import size as bytes_of

            size = bytes_of(value, "--log-opt max-size")
        elif name == "max-file":
            files = whole_number(value, "--log-opt max-file")
        else:
            raise UsageError(f"--log-opt {text!r}: max-size=SIZE or max-file=N expected")
    if size < 1 or files < 1:
        raise UsageError("--log-opt: a log has at least one file of one byte")
    return size, files
