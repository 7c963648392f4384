"""What RUN has in both ways: its process, the files that it alone sees, what its status means."""

from __future__ import annotations

import os

from buildkit.errors import RunFailed
from buildkit.run_options import RunOptions
from buildkit.steps import RunStep
from runtime.oci.spec import Capabilities, Process
from runtime.sandbox import capabilities

HOSTNAME = "pybuild"
_HOSTS = f"127.0.0.1\tlocalhost\n::1\tlocalhost\n127.0.0.1\t{HOSTNAME}\n"


def process_of(
    step: RunStep,
    options: RunOptions,
    env: tuple[str, ...],
    granted: frozenset[str] = capabilities.BUILD_DEFAULT,
) -> Process:
    """The process of a step, `env` being what its mounts add to it."""
    return Process(
        args=step.args,
        env=(*step.proxies, *step.env, *env),
        cwd=step.cwd,
        user=step.user,
        capabilities=Capabilities.granted(granted),
        no_new_privileges=False,  # Dockerfiles rely on sudo and the like
        rlimits=options.rlimits,
    )


def shell_of(step: RunStep, process: Process) -> Process:
    """A shell in the place of the step's process, on our terminal if we have one."""
    terminal = os.isatty(0) and os.isatty(1)
    return process.replace(args=(step.shell,), terminal=terminal)


def judge(step: RunStep, status: int) -> None:
    """Raise RunFailed for a status that is not 0."""
    if status:
        failure = RunFailed(f"exited with status {status}", hint=_explain(status))
        failure.program, failure.script_lines = step.args[0], step.script_lines
        raise failure


def write_file(path: str, content: str, *, mode: int = 0o644) -> None:
    """Make a text file with this mode, whatever the umask is."""
    with open(path, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(content)
    os.chmod(path, mode)


def hosts_of(options: RunOptions) -> str:
    """The step's /etc/hosts."""
    return _HOSTS + "".join(f"{address}\t{name}\n" for name, address in options.hosts)


def resolv_conf() -> str:
    """This machine's /etc/resolv.conf; empty if there is none."""
    try:
        with open("/etc/resolv.conf", encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except FileNotFoundError:  # a machine without a network
        return ""


def _explain(status: int) -> str | None:
    match status:
        case 126:
            return "126: a command was found but could not be executed"
        case 127:
            return "127: a command was not found"
        case 137:
            return "137: killed (SIGKILL); often the machine ran out of memory"
        case _ if status > 128:
            return f"{status}: killed by signal {status - 128}"
        case _:
            return None
