"""Child processes: a build step with a log, a command in the foreground, and the end of a whole process tree."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TextIO, TypeAlias

from .errors import DevError
from .progress import Step

Command = Sequence[str | Path]
Process: TypeAlias = "subprocess.Popen[str]"

TAIL_LINES = 20
STOP_SECONDS = 5.0
INTERRUPT_SECONDS = 3.0
CLEANUP_SECONDS = 20.0
_POSIX = os.name == "posix"


def start_group(
    command: Command,
    env: Mapping[str, str],
    cwd: Path | None = None,
    stdin: int = subprocess.DEVNULL,
    stdout: int | TextIO | None = None,
    pass_fds: Sequence[int] = (),
) -> Process:
    """Start a process that leads a group of its own: Ctrl-C does not reach it, `stop_tree` ends all of it.

    Its two outputs go to the same place. `pass_fds` are files it inherits, where the system can do that.
    """
    flags = 0
    if sys.platform == "win32":
        flags = subprocess.CREATE_NEW_PROCESS_GROUP
    return subprocess.Popen(
        list(command),
        env=dict(env),
        cwd=cwd,
        stdin=stdin,
        stdout=stdout,
        stderr=None if stdout is None else subprocess.STDOUT,
        pass_fds=pass_fds if _POSIX else (),
        start_new_session=_POSIX,
        creationflags=flags,
        encoding="utf-8",
        errors="replace",
    )


def stop_tree(process: Process) -> None:
    """End a process of `start_group` and its children: ask, wait a few seconds, then kill."""
    stop_one(process)
    # Children that ignored the first signal may outlive the leader.
    kill_group(process.pid)


def stop_one(process: "subprocess.Popen[str] | subprocess.Popen[bytes]") -> None:
    """End a process: ask, wait a few seconds, then kill. On Windows its children end with it, at once."""
    if process.poll() is None:
        if sys.platform == "win32":
            taskkill = ["taskkill", "/T", "/F", "/PID", str(process.pid)]
            subprocess.run(taskkill, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        else:
            process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def kill_group(group: int) -> None:
    """Kill all that is left of a process group, which on Windows does not exist."""
    if sys.platform != "win32":
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)


def run_logged(title: str, command: Command, log: Path, env: Mapping[str, str], cwd: Path, lock_fd: int) -> None:
    """Run one build step: its output goes to the end of `log`, the terminal shows a line with the seconds.

    Raises DevError with the last lines of the output when the command fails.
    """
    recent: list[str] = []
    with log.open("a", encoding="utf-8") as file, Step(title) as step:
        file.write("$ " + " ".join(map(str, command)) + "\n")
        file.flush()
        # The child shares the build lock, so that it keeps others out even when this process is killed.
        process = start_group(command, env, cwd, stdout=subprocess.PIPE, pass_fds=(lock_fd,))
        try:
            assert process.stdout is not None
            for line in process.stdout:
                file.write(line)
                recent = [*recent[1 - TAIL_LINES :], line.rstrip()]
                step.detail = _summary(line) or step.detail
            code = process.wait()
        finally:
            stop_tree(process)
    if code:
        tail = "\n".join(recent)
        raise DevError(f"{title} failed with exit code {code}; the whole log is {log} and ends with:\n{tail}")


def _summary(line: str) -> str:
    """Return a few words on a line of output; empty for the chatter of pip that says nothing about progress."""
    line = line.strip()
    if line.startswith(("WARNING", "DEPRECATION", "Attempting", "Found existing", "Uninstalling", "Successfully")):
        return ""
    if line.startswith("Installing collected packages:"):
        return f"unpacking {line.count(',') + 1} packages"
    return line[:70]


def run_child(command: Command, env: Mapping[str, str], cwd: Path | None = None) -> int:
    """Run a command in the foreground and return its exit code; on Ctrl-C or a kill, wait until it has cleaned up."""
    process = subprocess.Popen(list(command), env=dict(env), cwd=cwd)
    try:
        code = process.wait()
    except BaseException:
        # A terminal sends Ctrl-C to the child as well; a kill of this process alone has to be passed on.
        for seconds, end in ((INTERRUPT_SECONDS, process.terminate), (CLEANUP_SECONDS, process.kill)):
            try:
                process.wait(seconds)
                break
            except subprocess.TimeoutExpired:
                end()
        process.wait()
        raise
    return code if code >= 0 else 128 - code
