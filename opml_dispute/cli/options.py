"""
Options that several commands share, with the same names and help.

`chain_options`, `key_options`, `sending_options` and `model_options` decorate a command; each passes it one object
(`ChainOptions`, `KeyOptions`, `SendingOptions`, `ModelOptions`) instead of a row of arguments. `json_option` gives it
an `Output`. `binding_options` and `input_options` are for commands that compile and run a model, `stake_option` and
`fault_option` for those that stake on a game, `patience_option` for those that start a pre-image server.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from opml_dispute.cannon.server import PATIENCE_S
from opml_dispute.cli.output import Output
from opml_dispute.cli.waiting import shown_work
from opml_dispute.model.files import Binding, parse_binding

F = TypeVar("F", bound=Callable[..., Any])

GAME = "the address of a game"
"""What a command's argument GAME has to be, in the words of its refusal."""


@dataclass(frozen=True)
class ChainOptions:
    """The node, and the deployment on its chain."""

    rpc_url: str | None
    deployment: Path | None


@dataclass(frozen=True)
class KeyOptions:
    """The account that signs."""

    key_file: Path | None
    keystore: Path | None
    password_file: Path | None
    signer: str | None
    """URL of a remote signer."""
    expected: str | None
    """The address that the key must belong to."""


@dataclass(frozen=True)
class SendingOptions:
    """The account that signs, the limit for gas prices, --dry-run, --yes and --confirmations."""

    key: KeyOptions
    max_fee: str | None
    dry_run: bool
    yes: bool
    confirmations: int = 1


@dataclass(frozen=True)
class ModelOptions:
    """The model's file and input image, if the local store and the chain do not have them."""

    model: Path | None
    binding: Binding
    input_image: Path | None
    """The request's input, where the chain knows its root only."""


class FileName(click.ParamType[Path]):
    """The name of a file or folder; its existence is checked where it is used."""

    name = "file"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        if "\0" in str(value):
            self.fail(f"{value!r} is not the name of a file", param, ctx)
        return Path(str(value))


class Uri(click.ParamType[str]):
    """A URI that is written on the chain and shown to other users."""

    name = "URI"
    _longest = 2_000

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value)
        if len(text) > self._longest:
            self.fail(f"the URI has {len(text):,} characters; expected {self._longest:,} at most", param, ctx)
        if not text.isprintable() or re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*:.", text) is None:
            self.fail(f"{value!r} is not a URI; write it like https://… or ipfs://…", param, ctx)
        return text


def json_option(command: F) -> F:
    """--json; the command gets `output`."""

    @click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line on stdout, for scripts.")
    @functools.wraps(command)
    def wrapped(*args: Any, as_json: bool, **kwargs: Any) -> Any:
        return command(*args, output=Output(as_json=as_json), **kwargs)

    return wrapped  # type: ignore[return-value]


def chain_options(command: F) -> F:
    """--rpc-url and --deployment; the command gets `chain`."""

    @click.option(
        "--rpc-url",
        envvar="OPML_RPC_URL",
        show_envvar=True,
        metavar="URL",
        help="The Ethereum node. Default: the running devnet's, else http://127.0.0.1:8545.",
    )
    @click.option(
        "--deployment",
        envvar="OPML_DEPLOYMENT",
        show_envvar=True,
        type=FileName(),
        metavar="FILE",
        help="The deployment to work with. Default: the running devnet's.",
    )
    @functools.wraps(command)
    def wrapped(*args: Any, rpc_url: str | None, deployment: Path | None, **kwargs: Any) -> Any:
        return command(*args, chain=ChainOptions(rpc_url, deployment), **kwargs)

    return wrapped  # type: ignore[return-value]


def key_options(command: F) -> F:
    """--key-file, --keystore, --password-file, --signer and --from; the command gets `key`."""

    @click.option("--key-file", type=FileName(), metavar="FILE", help="A file with the private key in hex.")
    @click.option(
        "--keystore", type=FileName(), metavar="FILE", help="An encrypted keystore (JSON) with the private key."
    )
    @click.option(
        "--password-file",
        type=FileName(),
        metavar="FILE",
        help="A file with the keystore's password. Default: OPML_KEYSTORE_PASSWORD, else a prompt.",
    )
    @click.option(
        "--signer",
        metavar="URL",
        help="A remote signer that keeps the key: Web3Signer, or clef; --from names the address.",
    )
    @click.option(
        "--from", "expected", metavar="ADDRESS", help="Refuse to send unless the key belongs to this address."
    )
    @functools.wraps(command)
    def wrapped(
        *args: Any,
        key_file: Path | None,
        keystore: Path | None,
        password_file: Path | None,
        expected: str | None,
        signer: str | None,
        **kwargs: Any,
    ) -> Any:
        return command(*args, key=KeyOptions(key_file, keystore, password_file, signer, expected), **kwargs)

    return wrapped  # type: ignore[return-value]


def sending_options(command: F) -> F:
    """The key, --max-fee, --dry-run, --yes and --confirmations; the command gets `sending`."""

    @click.option(
        "--max-fee",
        metavar="AMOUNT",
        help="The most to pay for one unit of gas, like 50gwei; a bare number counts gwei. Default: 500gwei.",
    )
    @click.option("--dry-run", is_flag=True, help="Check everything and show what would be sent, but send nothing.")
    @click.option("--yes", "-y", is_flag=True, help="Do not ask before spending money on a public chain.")
    @key_options
    @click.option(
        "--confirmations",
        type=click.IntRange(1, 10_000),
        default=1,
        show_default=True,
        metavar="N",
        help="Wait for N blocks, from the one that has the transaction. What a reorganisation takes back meanwhile is "
        "sent again.",
    )
    @functools.wraps(command)
    def wrapped(
        *args: Any, key: KeyOptions, max_fee: str | None, dry_run: bool, yes: bool, confirmations: int, **kwargs: Any
    ) -> Any:
        return command(*args, sending=SendingOptions(key, max_fee, dry_run, yes, confirmations), **kwargs)

    return wrapped  # type: ignore[return-value]


MOST_TOKENS = 1 << 20
"""The most tokens of a prompt, or of an answer."""


def binding_options(command: F) -> F:
    """What is decided when a model is compiled, from --dim to --sampling; the command gets `binding`."""

    @click.option(
        "--dim", "dims", multiple=True, metavar="NAME=N", help="The size of a symbolic dimension; may be repeated."
    )
    @click.option(
        "--constant",
        "constants",
        multiple=True,
        metavar="NAME=VALUE",
        help="Fix an input: a number, a list like [2,-1], or a .npy file; may be repeated.",
    )
    @click.option(
        "--max-size",
        "max_sizes",
        multiple=True,
        metavar="NAME=N",
        help="Room for a tensor whose size depends on data; may be repeated.",
    )
    @click.option("--seed-input", metavar="NAME", help="A further input, int64[1], that random numbers are drawn from.")
    @click.option(
        "--prompt-tokens",
        type=click.IntRange(1, MOST_TOKENS),
        metavar="N",
        help="For a language model: room for a prompt of N tokens.",
    )
    @click.option(
        "--tokens", type=click.IntRange(1, MOST_TOKENS), metavar="N", help="For a language model: answers of N tokens."
    )
    @click.option("--sampling", is_flag=True, help="For a language model: requests may have their answers drawn.")
    @functools.wraps(command)
    def wrapped(
        *args: Any,
        dims: tuple[str, ...],
        constants: tuple[str, ...],
        max_sizes: tuple[str, ...],
        seed_input: str | None,
        prompt_tokens: int | None,
        tokens: int | None,
        sampling: bool,
        **kwargs: Any,
    ) -> Any:
        binding = parse_binding(dims, constants, max_sizes, seed_input, prompt_tokens, tokens, sampling)
        with shown_work():
            return command(*args, binding=binding, **kwargs)

    return wrapped  # type: ignore[return-value]


def model_options(command: F) -> F:
    """--model, --input-image and what `binding_options` adds; the command gets `files`."""

    @click.option(
        "--model",
        type=FileName(),
        metavar="FILE",
        help="The file of the request's model. Default: the local copy made when it was registered or used.",
    )
    @binding_options
    @click.option(
        "--input-image",
        type=FileName(),
        metavar="FILE",
        help="The request's input image, where the request gave its root only.",
    )
    @functools.wraps(command)
    def wrapped(*args: Any, model: Path | None, binding: Binding, input_image: Path | None, **kwargs: Any) -> Any:
        return command(*args, files=ModelOptions(model, binding, input_image), **kwargs)

    return wrapped  # type: ignore[return-value]


def input_options(command: F) -> F:
    """--input and --sample."""
    command = click.option(
        "--input",
        "inputs",
        multiple=True,
        metavar="[NAME=]FILE",
        help="An input as a NumPy file (.npy), or a number for one of one element; may be repeated.",
    )(command)
    return click.option(
        "--sample",
        type=click.IntRange(0, 359),
        metavar="N",
        help="Held-out digit number N (0 to 359) of the sample model.",
    )(command)


def stake_option(command: F) -> F:
    """--stake-anyway; the command gets `stake_anyway`."""
    return click.option(
        "--stake-anyway",
        is_flag=True,
        help="Stake even if the preflight finds that the game may not be defensible from this computer.",
    )(command)


def fault_option(command: F) -> F:
    """--fault; its meaning is in `faults`."""
    return click.option(
        "--fault",
        metavar="FAULT",
        help="For testing: play as a liar. One bit flips in the VM: NODE:STEP:PLACE.BIT, or seed=N to search for one.",
    )(command)


def patience_option(command: F) -> F:
    """Adds --server-patience; the command gets it as `patience_s`."""
    return click.option(
        "--server-patience",
        "patience_s",
        type=click.FloatRange(0, 1e9, min_open=True),
        default=PATIENCE_S,
        show_default=True,
        envvar="OPML_SERVER_PATIENCE",
        show_envvar=True,
        metavar="SECONDS",
        help="How long the server may take for an answer, and again for every further MiB.",
    )(command)
