"""The contract build: Forge's settings, one compiler run, an instant second call."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from opml_dispute.toolchain import solidity as build
from opml_dispute.toolchain.programs import ToolMissing, cache_dir
from opml_dispute.toolchain.solidity import CompileError, build_artifacts, compiler_input

CONFIG = """
[profile.default]
src = "src"
remappings = ["lib/=node_modules/lib/"]
solc = "0.8.30"
evm_version = "cancun"
optimizer = true
optimizer_runs = 7
bytecode_hash = "none"
cbor_metadata = false
"""


def test_a_user_without_a_home_folder_is_told_what_to_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python finds none for an account of a container that is in no list of accounts."""

    def none() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", none)
    for name in ("OPML_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ToolMissing, match="no home folder") as missing:
        cache_dir()
    assert "OPML_CACHE_DIR" in str(missing.value.hint)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small Solidity project with a relative import and a remapped one, and an empty cache of builds."""
    monkeypatch.setenv("OPML_CACHE_DIR", str(tmp_path / "cache"))
    files = {
        "foundry.toml": CONFIG,
        "src/One.sol": 'pragma solidity ^0.8.0;\nimport {Two} from "./deep/Two.sol";\ncontract One is Two {}\n',
        "src/deep/Two.sol": 'pragma solidity ^0.8.0;\nimport "lib/Three.sol";\ncontract Two is Three {}\n',
        "node_modules/lib/Three.sol": "pragma solidity ^0.8.0;\ncontract Three { uint256 public x; }\n",
    }
    for name, text in files.items():
        path = tmp_path / "contracts" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "contracts"


def test_the_compiler_gets_forges_settings_and_every_imported_file(project: Path) -> None:
    given = compiler_input(project)
    assert set(given["sources"]) == {"src/One.sol", "src/deep/Two.sol", "node_modules/lib/Three.sol"}
    settings = given["settings"]
    assert settings["optimizer"] == {"enabled": True, "runs": 7}
    assert settings["evmVersion"] == "cancun"
    assert settings["metadata"] == {"bytecodeHash": "none", "appendCBOR": False}
    assert settings["remappings"] == ["lib/=node_modules/lib/"]


def test_an_import_that_leads_nowhere_is_named(project: Path) -> None:
    shutil.rmtree(project / "node_modules")
    with pytest.raises(CompileError, match=r"node_modules/lib/Three\.sol") as raised:
        compiler_input(project)
    assert "libraries" in str(raised.value.hint)


def test_a_setting_that_might_change_the_bytecode_is_not_overlooked(project: Path) -> None:
    (project / "foundry.toml").write_text(CONFIG + 'revert_strings = "strip"\n')
    with pytest.raises(CompileError, match="revert_strings"):
        compiler_input(project)


def test_the_compiler_runs_once_and_again_only_for_changed_sources(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = []

    def compiler(standard_input: object, version: str) -> dict[str, object]:
        runs.append(version)
        code = {"object": "00", "linkReferences": {}}
        contract = {"abi": [{"type": "fallback"}], "evm": {"bytecode": code, "deployedBytecode": code}}
        return {"contracts": {"src/One.sol": {"One": contract}}}

    monkeypatch.setattr(build, "_run_compiler", compiler)
    out = tmp_path / "out"
    assert build_artifacts(contracts_dir=project, out_dir=out)
    assert not build_artifacts(contracts_dir=project, out_dir=out)
    (project / "src/One.sol").write_text((project / "src/One.sol").read_text() + "// changed\n")
    assert build_artifacts(contracts_dir=project, out_dir=out)
    assert build_artifacts(contracts_dir=project, out_dir=out, force=True)
    assert runs == ["0.8.30"] * 3
    assert {path.name for path in out.iterdir()} == {"One.json", "stamp.txt"}
    other = tmp_path / "another checkout"
    assert build_artifacts(contracts_dir=project, out_dir=other)
    assert len(runs) == 3, "a second checkout with the same sources takes over what the first compiled"
    assert (other / "One.json").read_text() == (out / "One.json").read_text()


def test_a_failed_build_leaves_the_old_artifacts(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "Old.json").write_text("{}")
    code = {"object": "00", "linkReferences": {"a": 1}}
    contract = {"abi": [{"type": "fallback"}], "evm": {"bytecode": code, "deployedBytecode": code}}
    monkeypatch.setattr(build, "_run_compiler", lambda *_: {"contracts": {"src/One.sol": {"One": contract}}})
    with pytest.raises(CompileError, match="linking"):
        build_artifacts(contracts_dir=project, out_dir=out)
    assert [path.name for path in out.iterdir()] == ["Old.json"]
    assert not list(tmp_path.glob("contracts.*")), "nothing half-made is left behind"


def test_the_packages_artifacts_are_those_of_the_sources() -> None:
    """What tests run against is what the tree says."""
    version = build.required_compiler()
    assert (build.ARTIFACTS_DIR / build.STAMP_NAME).read_text().strip() == build.stamp(compiler_input(), version)
