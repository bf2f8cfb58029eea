"""
The build of the contracts: from Solidity sources to the artifacts that the package loads.

1. `contract_sources` gathers every file below `contracts/src` and, transitively, everything they import.
2. `compiler_input` makes the compiler's standard JSON from them and from `contracts/foundry.toml`, so that this build
   and Forge's give the same bytecode from one set of settings.
3. `build_artifacts` compiles, writes one `<Contract>.json` (name, source, abi, bytecode) for each contract of the
   project, and a stamp of all inputs; a later call with the same stamp does nothing.

`artifacts` loads the results. Run as `python -m opml_dispute.toolchain.solidity [--force]`.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
import tomllib
from pathlib import Path, PurePosixPath
from typing import Any

from opml_dispute.errors import OpmlError

PACKAGE_DIR = Path(__file__).resolve().parent.parent
CONTRACTS_DIR = PACKAGE_DIR.parent / "contracts"
ARTIFACTS_DIR = PACKAGE_DIR / "_build" / "contracts"
STAMP_NAME = "stamp.txt"

FORMAT_VERSION = "2"
"""A part of the stamp, raised when the format of the artifacts changes."""

_IMPORT = re.compile(r"""^\s*import\b[^;"']*["']([^"']+)["']\s*;""", re.MULTILINE)

# Every key of [profile.default] that this build understands or may ignore. Another key might change the bytecode, so it
# is refused.
_CODEGEN_KEYS = {
    "src",
    "solc",
    "evm_version",
    "optimizer",
    "optimizer_runs",
    "via_ir",
    "remappings",
    "bytecode_hash",
    "cbor_metadata",
}
_HARMLESS_KEYS = {
    *("test", "script", "out", "libs", "cache", "cache_path", "auto_detect_remappings", "fs_permissions"),
    *(
        "fuzz",
        "invariant",
        "gas_limit",
        "gas_reports",
        "gas_snapshot_check",
        "gas_snapshot_emit",
        "isolate",
        "snapshots",
        "deny",
        "ignored_error_codes",
    ),
}


class CompileError(OpmlError):
    """The contracts could not be compiled: a source is missing, a setting is unknown, or the compiler objects."""


def contract_sources(contracts_dir: Path, remappings: list[tuple[str, str]], src: str) -> dict[str, str]:
    """
    Source unit name -> text of every file below `src` and of all imports, with Forge's names.

    Raises `CompileError` for an import that leads to no file.
    """
    sources: dict[str, str] = {}
    pending = sorted(p.relative_to(contracts_dir).as_posix() for p in (contracts_dir / src).rglob("*.sol"))
    if not pending:
        raise CompileError(f"no Solidity sources below {contracts_dir / src}")
    while pending:
        name = pending.pop()
        if name in sources:
            continue
        path = contracts_dir / name
        if not path.is_file():
            fetched = name.startswith("node_modules/")
            raise CompileError(
                f"{name} is imported but is not below {contracts_dir}",
                hint="fetch the contracts' libraries: scripts/test and scripts/demo do it" if fetched else None,
            )
        sources[name] = path.read_text(encoding="utf-8")
        pending += [_resolve_import(name, target, remappings) for target in _IMPORT.findall(sources[name])]
    return dict(sorted(sources.items()))


def _resolve_import(importer: str, target: str, remappings: list[tuple[str, str]]) -> str:
    """The source unit that the import `target` in `importer` names: relative to it, or by the longest remapping."""
    if target.startswith("."):
        return os.path.normpath(PurePosixPath(importer).parent / target).replace(os.sep, "/")
    matching = [(prefix, to) for prefix, to in remappings if target.startswith(prefix)]
    if not matching:
        return target
    prefix, to = max(matching, key=lambda pair: len(pair[0]))
    return to + target[len(prefix) :]


def compiler_input(contracts_dir: Path = CONTRACTS_DIR) -> dict[str, Any]:
    """
    The standard JSON for solc, settings from `foundry.toml`.

    Raises `CompileError` for a setting this build does not know.
    """
    config_path = contracts_dir / "foundry.toml"
    if not config_path.is_file():
        raise CompileError(
            f"{config_path} is missing",
            hint="compile from a checkout of the project; an installed wheel holds the results",
        )
    profile = tomllib.loads(config_path.read_text(encoding="utf-8"))["profile"]["default"]
    unknown = sorted(set(profile) - _CODEGEN_KEYS - _HARMLESS_KEYS)
    if unknown:
        raise CompileError(
            f"{config_path}: setting {', '.join(unknown)} is not one this build knows",
            hint="handle it in opml_dispute/toolchain/solidity.py, by its effect on the bytecode",
        )
    remappings = [_split_remapping(line) for line in profile.get("remappings", [])]
    sources = contract_sources(contracts_dir, remappings, profile.get("src", "src"))
    settings: dict[str, Any] = {
        "remappings": [f"{prefix}={to}" for prefix, to in remappings],
        "optimizer": {"enabled": profile.get("optimizer", False), "runs": profile.get("optimizer_runs", 200)},
        "viaIR": profile.get("via_ir", False),
        "metadata": {
            "bytecodeHash": profile.get("bytecode_hash", "ipfs"),
            "appendCBOR": profile.get("cbor_metadata", True),
        },
        "outputSelection": {
            "*": {"*": ["abi", "evm.bytecode.object", "evm.bytecode.linkReferences", "evm.deployedBytecode.object"]}
        },
    }
    if "evm_version" in profile:
        settings["evmVersion"] = profile["evm_version"]
    return {
        "language": "Solidity",
        "sources": {name: {"content": text} for name, text in sources.items()},
        "settings": settings,
    }


def _split_remapping(line: str) -> tuple[str, str]:
    prefix, separator, to = line.partition("=")
    if not separator or ":" in prefix:
        raise CompileError(f"foundry.toml: remapping {line!r} is not of the form prefix=path")
    return prefix, to


def stamp(standard_input: dict[str, Any], compiler_version: str) -> str:
    """The digest of the artifacts' inputs: sources, settings, compiler, and this file's format."""
    content = json.dumps([FORMAT_VERSION, compiler_version, standard_input], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def required_compiler(contracts_dir: Path = CONTRACTS_DIR) -> str:
    """The compiler version that `foundry.toml` pins, as "0.8.30"."""
    profile = tomllib.loads((contracts_dir / "foundry.toml").read_text(encoding="utf-8"))["profile"]["default"]
    return str(profile["solc"])


def build_artifacts(*, force: bool = False, contracts_dir: Path = CONTRACTS_DIR, out_dir: Path = ARTIFACTS_DIR) -> bool:
    """
    Bring `out_dir` up to date with the sources, and answer whether anything changed.

    Raises `CompileError` if a file is missing or the compiler refuses the sources; `out_dir` is then unchanged.
    """
    from opml_dispute.toolchain import programs

    version = required_compiler(contracts_dir)
    if (contracts_dir / "package.json").is_file():
        programs.solidity_libraries(contracts_dir)
    standard_input = compiler_input(contracts_dir)
    expected_stamp = stamp(standard_input, version)
    stamp_path = out_dir / STAMP_NAME
    if not force and stamp_path.is_file() and stamp_path.read_text().strip() == expected_stamp:
        return False
    # A build of another checkout with the same sources and settings is reused.
    kept = programs.cache_dir() / "built" / f"contracts-{expected_stamp}"
    reused = not force and (kept / STAMP_NAME).is_file()
    output = {} if reused else _run_compiler(standard_input, version)
    # A complete new directory replaces the old one, so that neither a reader nor a kill meets a mixture.
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix="contracts.", dir=out_dir.parent))
    try:
        if reused:
            shutil.copytree(kept, fresh, dirs_exist_ok=True)
        else:
            _write_artifacts(output, fresh)
            (fresh / STAMP_NAME).write_text(expected_stamp + "\n")
            _keep(fresh, kept)
        fresh.chmod(0o755)
        shutil.rmtree(out_dir, ignore_errors=True)
        fresh.rename(out_dir)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    return True


def _keep(built: Path, kept: Path) -> None:
    """Copy artifacts into the user's cache, completely or not at all; an unwritable cache is ignored."""
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
            copy = Path(shutil.copytree(built, Path(folder) / "artifacts"))
            copy.rename(kept)
    except OSError:
        return


def _run_compiler(standard_input: dict[str, Any], version: str) -> dict[str, Any]:
    import solcx  # only a build needs this package; an installation does not have it
    from solcx.exceptions import SolcError

    binary = _compiler_path()
    found = str(solcx.wrapper.get_solc_version(binary))
    if found != version:
        raise CompileError(f"{binary} is solc {found}, but foundry.toml asks for {version}")
    try:
        return dict(solcx.compile_standard(standard_input, solc_binary=binary))
    except SolcError as error:
        raise CompileError(f"solc refused the contracts:\n{error.message}") from error


def _compiler_path() -> Path:
    """The compiler: the environment's `OPML_SOLC`, else the toolchain's."""
    named = os.environ.get("OPML_SOLC")
    if named:
        path = Path(named)
        if not path.is_file():
            raise CompileError(f"OPML_SOLC names {named}, which is no file")
        return path
    from opml_dispute.toolchain import programs  # only needed when no compiler was named

    return Path(programs.solc())


def _write_artifacts(output: dict[str, Any], directory: Path) -> None:
    """Write one JSON file per contract of the project; libraries that are not deployed are left out."""
    written: dict[str, str] = {}
    for source, contracts in sorted(output["contracts"].items()):
        if not source.startswith("src/"):
            continue
        for name, contract in sorted(contracts.items()):
            code = contract["evm"]["bytecode"]
            if code["linkReferences"]:
                raise CompileError(
                    f"{source}:{name} needs linking to {sorted(code['linkReferences'])}; make that library internal"
                )
            if not contract["abi"]:
                continue
            if name in written:
                raise CompileError(f"two contracts are called {name}: {written[name]} and {source}")
            written[name] = source
            artifact = {
                "name": name,
                "source": source,
                "abi": contract["abi"],
                "bytecode": "0x" + code["object"],
                "runtime_bytes": len(contract["evm"]["deployedBytecode"]["object"]) // 2,
            }
            (directory / f"{name}.json").write_text(json.dumps(artifact, indent=1, sort_keys=True) + "\n")


def main(arguments: list[str]) -> int:
    """Compile if needed, and print the result in one line."""
    try:
        compiled = build_artifacts(force="--force" in arguments)
    except OpmlError as error:
        print(f"error: {error}", file=sys.stderr)
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)
        return error.exit_code
    print(f"contracts: {'compiled to' if compiled else 'up to date in'} {ARTIFACTS_DIR}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
