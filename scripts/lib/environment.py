"""
The environment of the project's scripts: a virtual environment with pinned packages, and everything built.

A script starts with

    from lib.environment import enter
    enter()

which sets all that up (quickly, when it is there already) and goes on inside the project's own Python. Standard
library only: a fresh machine has nothing else.
"""

from __future__ import annotations

import atexit
import errno
import hashlib
import os
import select
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
REQUIREMENTS = ROOT / "requirements.txt"
MINIMUM = (3, 11)
_INSIDE = "OPML_SCRIPT_ENVIRONMENT"


def enter(manual: str | None = None) -> None:
    """
    Continues this script in the project's environment, made first where it is missing or out of date.

    A script that has no parser for its arguments gives its docstring as `manual`: with --help or -h that is printed,
    and nothing else is done.
    """
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115 (None, if there is none)
    if manual is not None and {"--help", "-h"} & set(sys.argv[1:]):
        print(manual.strip())
        sys.exit(0)
    if os.environ.get(_INSIDE) == str(VENV) and Path(sys.prefix).resolve() == VENV.resolve():
        _end_in_few_words()
        return
    if sys.version_info < MINIMUM:
        _give_up(
            f"Python {'.'.join(map(str, MINIMUM))} or newer is needed; this is {sys.version.split()[0]}",
            "run the script with a newer interpreter: python3.11 scripts/…",
        )
    _make_environment()
    _build()
    environment = dict(os.environ, **{_INSIDE: str(VENV)})
    sys.stdout.flush()
    os.execve(PYTHON, [str(PYTHON), *sys.argv], environment)


def _end_in_few_words() -> None:
    """
    From here on, neither Ctrl-C nor a full disk nor a reader that closes stdout (`| head`) ends in a traceback.

    The exit code still says that the script did not come to its end.
    """
    usual = sys.excepthook
    has_said = False

    def say_once(error: OSError) -> None:
        """What could not be written may be tried again at the end."""
        nonlocal has_said
        if not has_said:
            _say(f"error: cannot write: {error.strerror}")
        has_said = True

    def told(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if isinstance(error, KeyboardInterrupt):
            _say("stopped")
        elif isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            say_once(error)
        elif not (isinstance(error, BrokenPipeError) and _is_reader_gone()):
            usual(kind, error, trace)

    def flush() -> None:
        """Writes what is still buffered, as the last of all; if that fails, the exit code is 1."""
        try:
            sys.stdout.flush()
        except OSError as error:
            if not isinstance(error, BrokenPipeError):
                say_once(error)
            os._exit(1)  # Python would try again, and complain of it

    sys.excepthook = told
    atexit.register(flush)


def _is_reader_gone() -> bool:
    """Whether the reader of stdout has closed it."""
    asked = select.poll()
    asked.register(sys.stdout.fileno(), select.POLLOUT)
    return any(state & select.POLLERR for _, state in asked.poll(0))


def say_where_the_command_is() -> None:
    """Prints where the command is and what to read next, as the last lines of a script."""
    _say(f"the command is {VENV / 'bin' / 'opml-dispute'}")
    _say("what to do with it, by what you want: docs/index.md; its help: --help")


def _make_environment() -> None:
    stamp = VENV / ".complete"
    wanted = hashlib.sha256(
        REQUIREMENTS.read_bytes() + (ROOT / "pyproject.toml").read_bytes() + sys.version.encode()
    ).hexdigest()
    if stamp.is_file() and stamp.read_text() == wanted and PYTHON.exists():
        return
    _say("setting up for the first time, which takes some minutes: packages, engine and guest, contracts")
    _say("making the virtual environment (.venv)")
    if not PYTHON.exists():
        made = subprocess.run([sys.executable, "-m", "venv", str(VENV)], capture_output=True, text=True)
        if made.returncode != 0:
            _give_up(
                "python -m venv failed: " + _last_line(made.stdout + made.stderr),
                "install Python's venv module (Debian: apt-get install python3-venv)",
            )
    _install()
    _build()  # before the project is registered, so that each part is reported by itself
    # Registers the console script; what it needs is installed already, so nothing is fetched here.
    editable = ["--no-deps", "--no-build-isolation", "-e", str(ROOT)]
    _run("registering the command", [*_PIP, *editable], "the lines above say which part failed")
    stamp.write_text(wanted)


def _install() -> None:
    """
    Installs the pinned packages with uv, which pip installs first and which takes a tenth of pip's processor time.

    uv does not read pip's configuration, so where a machine names its package index there, pip installs them.
    """
    fast = [str(VENV / "bin" / "uv"), "pip", "install", "--quiet", "--python", str(PYTHON), "-r", str(REQUIREMENTS)]
    got = _patiently("installing uv", [*_PIP, "--constraint", str(REQUIREMENTS), "uv"])
    if got.returncode == 0:
        done = _patiently("installing the pinned packages", fast)
        if done.returncode == 0:
            return
        _say(f"uv could not install the packages ({_last_line(done.stdout)}); pip tries, which takes longer")
    _run(
        "installing the pinned packages",
        [*_PIP, "-r", str(REQUIREMENTS)],
        "check that pip reaches its package index, then run this again",
    )


def _build() -> None:
    """Rebuilds the parts that have changed since the last time; without changes it does and prints nothing."""
    parts = (("native", "the engine and the guest"), ("solidity", "the contracts"))
    commands = [(f"building {what}", [str(PYTHON), "-m", f"opml_dispute.toolchain.{part}"]) for part, what in parts]
    with ThreadPoolExecutor(len(parts)) as pool:
        built = list(pool.map(lambda work: _patiently(*work), commands))
    for (_, what), done in zip(parts, built, strict=True):
        if done.returncode != 0:
            _give_up(f"could not build {what}:\n{done.stdout.strip()}", "correct the sources and run this again")


def _patiently(what: str, command: list[str]) -> subprocess.CompletedProcess[str]:
    """Runs a command, and reports it after two seconds, then its time so far every ten seconds."""
    started, said = time.monotonic(), False
    with tempfile.TemporaryFile("w+") as printed:
        running = subprocess.Popen(command, cwd=ROOT, stdout=printed, stderr=subprocess.STDOUT, text=True)
        while True:
            try:
                code = running.wait(timeout=10 if said else 2)
                break
            except subprocess.TimeoutExpired:
                _say(f"{what}: {time.monotonic() - started:.0f} s so far" if said else what)
                said = True
            except KeyboardInterrupt:
                running.terminate()
                raise
        printed.seek(0)
        return subprocess.CompletedProcess(command, code, printed.read())


_PIP = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]


def _run(what: str, command: list[str], hint: str) -> None:
    done = _patiently(what, command)
    if done.returncode != 0:
        _give_up(f"{what} failed:\n{done.stdout.strip()}", hint)


def _say(text: str) -> None:
    sys.stderr.write(f"· {text}\n")  # in one piece: two builds speak at a time
    sys.stderr.flush()


def _give_up(reason: str, hint: str) -> None:
    sys.exit(f"error: {reason}\nhint: {hint}")


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no message"
