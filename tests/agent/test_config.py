"""agent.toml: what it may say, and that a typing error never switches a limit off."""

from __future__ import annotations

from pathlib import Path

import pytest

from opml_dispute.agent.config import AgentConfig, BadConfig
from opml_dispute.agent.configured_words import KEYS, in_configured_words
from opml_dispute.availability.fetching import FetchPolicy
from opml_dispute.chain.keys import KEY_VARIABLE
from opml_dispute.cli import execute
from opml_dispute.devnet import anvil as devnet
from opml_dispute.home import home

LEAST = """
[chain]
deployment = "deployment.json"
[agent]
roles = ["challenger", "resolver"]
"""


def load(tmp_path: Path, text: str) -> AgentConfig:
    path = tmp_path / "agent.toml"
    path.write_text(text)
    return AgentConfig.load(path)


def test_least_configuration_has_a_deployment_and_roles(tmp_path: Path) -> None:
    config = load(tmp_path, LEAST)
    assert config.deployment == tmp_path / "deployment.json"
    assert config.state == home() / "agents" / "agent.sqlite"
    assert config.roles == {"challenger", "resolver"}
    assert config.max_at_risk_wei is None


def test_every_key_is_read(tmp_path: Path) -> None:
    text = """
[chain]
rpc = ["http://one:8545", "https://two"]
deployment = "d.json"
max_lag_blocks = 3
[key]
file = "key"
[agent]
roles = ["proposer", "challenger", "resolver", "claimer", "finalizer"]
interval = 3
state = "memory/state.sqlite"
dry_run = true
second_opinion = false
[policy]
defend = "right"
games = ["0x70997970C51812dc3A010C7d01b50e0d17dc79C8"]
models = ["0x0101010101010101010101010101010101010101010101010101010101010101"]
min_fee = "0.25 ether"
answer_unavailable = true
max_age_days = 7
[treasury]
max_at_risk = "10"
max_per_game = "2 ether"
reserve = "500 gwei"
max_fee_per_gas = "40 gwei"
[compute]
workers = 5
memory = "4 GiB"
timeout = 600
ray = "10.0.0.1:6379"
[fetch]
allow = "local"
gateways = ["http://127.0.0.1:8080/"]
quota = "1 TiB"
max_size = "512 MiB"
timeout = 60
[claims]
addresses = ["0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"]
[metrics]
listen = "127.0.0.1:7300"
"""
    config = load(tmp_path, text)
    assert config.rpc_urls == ("http://one:8545", "https://two")
    assert (config.max_at_risk_wei, config.max_per_game_wei) == (10 * 10**18, 2 * 10**18)
    assert (config.reserve_wei, config.max_fee_wei) == (500 * 10**9, 40 * 10**9)
    assert (config.min_fee_wei, config.max_age_s) == (25 * 10**16, 7 * 86_400)
    assert config.listen == ("127.0.0.1", 7300)
    assert (config.workers, config.worker_memory_bytes, config.compute_timeout_s) == (5, 4 << 30, 600)
    assert config.ray == "10.0.0.1:6379"
    assert config.fetch == FetchPolicy("local", ("http://127.0.0.1:8080",), max_bytes=512 << 20, timeout_s=60)
    assert config.fetch_quota_bytes == 1 << 40
    assert config.answer_unavailable
    assert config.models == frozenset({b"\x01" * 32})
    assert (config.dry_run, config.second_opinion, config.defend) == (True, False, "right")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "agent.roles"),
        ("[agent]\nroles = []", "agent.roles"),
        ("[agent]\nroles = ['judge']", "agent.roles"),
        ("[agent]\nroles = ['resolver']", "chain.deployment is missing"),
        (LEAST + "[treasury]\nmax_at_risc = '1'", "treasury.max_at_risc is not a key"),
        (LEAST + "[tresury]\nmax_at_risk = '1'", "tresury.max_at_risk is not a key"),
        (LEAST + "[treasury]\nmax_at_risk = 1", "an amount in quotes"),
        (LEAST + "[treasury]\nmax_at_risk = '-1'", "treasury.max_at_risk"),
        (LEAST + "[policy]\ndefend = 'all'", "one of own, right"),
        (LEAST + "[policy]\ngames = ['0x12']", "policy.games"),
        (LEAST + "[policy]\nmodels = ['0x12']", "policy.models"),
        (LEAST + "[metrics]\nlisten = '7300'", "metrics.listen"),
        (LEAST + "[metrics]\nlisten = '127.0.0.1:99999'", "metrics.listen"),
        (LEAST.replace("[agent]", "[agent]\ninterval = 0"), "agent.interval"),
        (LEAST.replace("[agent]", "[agent]\nworkers = 2"), "agent.workers is now called compute.workers"),
        (LEAST + "[compute]\nworkers = true", "compute.workers is True: expected a whole number from 0 to 256"),
        (LEAST + "[compute]\nworkers = 257", "compute.workers"),
        (LEAST + "[compute]\nworkers = 0\nray = 'auto'", "compute.workers is 0, but compute.ray names a cluster"),
        (LEAST + "[compute]\nray = true", "compute.ray is True"),
        (LEAST + "[compute]\nray = 'somewhere'", "the address of a Ray cluster"),
        (LEAST + "[compute]\nmemory = 4", "a size in quotes"),
        (LEAST + "[compute]\nmemory = '0 GiB'", "a size in quotes"),
        (LEAST + "[compute]\nmemory = '4 GB'", "compute.memory is '4 GB'"),
        (LEAST + "[compute]\ntimeout = 0", "compute.timeout"),
        (LEAST + "[compute]\nthreads = 4", "compute.threads is not a key"),
        (LEAST + "[fetch]\nallow = 'everything'", "one of nothing, public, local"),
        (LEAST + "[fetch]\ngateways = 'http://x'", "fetch.gateways"),
        (LEAST + "[fetch]\ngateways = ['x']", "not the URL of a gateway"),
        (LEAST + "[fetch]\nquota = '-1 GiB'", "fetch.quota"),
        (LEAST + "[fetch]\ntimeout = 'long'", "fetch.timeout"),
        (LEAST + "[policy]\nanswer_unavailable = 1", "true or false"),
        (LEAST + "[policy]\nmodels = ['digits']", "expected a list of model ids"),
        (LEAST.replace("[chain]", "[chain]\nrpc = 'ftp://x'"), "chain.rpc"),
        (LEAST + "[metrics]\nlisten = 'x:" + "9" * 5000 + "'", "an address and a port"),
        (LEAST + "[key]\nfile = '~no-such-account/key'", "the home folder of an account of this computer"),
        (
            LEAST + "[compute]\nworkers = 0x" + "F" * 5000,
            "compute.workers is int, too large to be shown",
        ),
        (LEAST + "[compute]\nworkers = " + "[" * 90 + "]" * 90, "…: expected a whole number"),
        ("roles = ['challenger']", "must be in a table"),
        ("[agent", "is not TOML"),
        ("a = " + "[" * 100_000, "is not TOML"),
    ],
)
def test_bad_configuration_is_refused_and_its_key_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(BadConfig) as refused:
        load(tmp_path, text)
    assert said in str(refused.value)


def test_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="cannot read"):
        AgentConfig.load(tmp_path / "none.toml")


def test_a_signer_is_named_by_its_url_and_address(tmp_path: Path) -> None:
    address = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"
    config = load(tmp_path, LEAST + f'[key]\nsigner = "http://127.0.0.1:9000"\naddress = "{address}"\n')
    assert (config.signer, config.address) == ("http://127.0.0.1:9000", address)
    for line in ('signer = "127.0.0.1:9000"', "signer = 9000", 'address = "0x12"', "address = 7"):
        with pytest.raises(BadConfig, match=r"key\.(signer|address)"):
            load(tmp_path, LEAST + f"[key]\n{line}\n")


@pytest.mark.parametrize(
    ("key", "said", "hint"),
    [
        ("", "no key to sign them was given", "key.file"),
        ('file = "none.key"', "none.key", "check the path"),
        ('file = "junk.key"', "not hexadecimal", "key.keystore"),
        ('file = "good.key"\nkeystore = "junk.key"', "", ""),
        ('password_file = "junk.key"', "", "key.keystore"),
        ('signer = "http://127.0.0.1:9"', "no signer answers at http://127.0.0.1:9: nothing listens there", "signer"),
        ('file = "good.key"\naddress = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"', "the key is that of", ""),
        ('file = "good.key"', "cannot read the deployment", "give chain.deployment"),
    ],
)
def test_errors_of_opening_an_agent_speak_of_its_configuration(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    key: str,
    said: str,
    hint: str,
) -> None:
    """An agent has no `--key-file`, and no `--deployment`."""
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    for name, content in (("junk.key", "hello"), ("good.key", devnet.key_hex(3))):
        (tmp_path / name).touch(mode=0o600)
        (tmp_path / name).write_text(content)
    path = tmp_path / "agent.toml"
    path.write_text(f"{LEAST}[key]\n{key}\n")
    assert execute(["agent", "check", "--config", str(path)]) == 1
    told = capsys.readouterr().err
    assert said in told
    assert hint in told
    assert "hint:" not in told or "--" not in told.split("hint:")[1]


@pytest.mark.parametrize("option", KEYS)
def test_an_option_is_called_by_its_key(option: str) -> None:
    assert in_configured_words(f"give {option}, or {option} FILE") == f"give {KEYS[option]}, or {KEYS[option]}"
    assert in_configured_words(f"{option}-time") == f"{option}-time" or " " in option


def test_a_key_that_others_can_read_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    key, path = tmp_path / "open.key", tmp_path / "agent.toml"
    key.write_text(devnet.key_hex(3))
    path.write_text(f'{LEAST}[key]\nfile = "{key.name}"\n')
    for mode, is_told in ((0o644, True), (0o640, True), (0o604, True), (0o600, False), (0o400, False)):
        key.chmod(mode)
        execute(["agent", "check", "--config", str(path)])
        told = capsys.readouterr().err
        assert (f"can read {key} (mode {mode:o}): chmod 600" in told) is is_told
