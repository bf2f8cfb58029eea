"""--publish and --check: a model or an input put where others can fetch it, and fetched afresh to see that they can."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from opml_dispute.cli.output import Output
from opml_dispute.errors import OpmlError

if TYPE_CHECKING:
    from opml_dispute.model.program import Program
    from opml_dispute.operator.model_store import ModelStore
    from opml_dispute.primitives import ModelId

BLOBS = "blobs"

F = TypeVar("F", bound=Callable[..., Any])

_HINT = "publish it there first, or go on all the same with --no-check"


@dataclass(frozen=True)
class PublicationOptions:
    """Where to publish, and whether to look whether others can fetch it."""

    target: str | None
    base_uri: str | None
    checks: bool

    @property
    def in_blobs(self) -> bool:
        """Whether it goes into blobs of the chain; a folder of that name is ./blobs."""
        return self.target == BLOBS

    def publish(self, name: str, write: Callable[[Path], object], output: Output) -> str:
        """Publishes a file; its URI. Raises `CannotPublish`."""
        from opml_dispute.availability.publishing import PublicationTarget

        assert self.target is not None
        target = PublicationTarget(self.target, self.base_uri)
        with tempfile.TemporaryDirectory(prefix="opml-publish-") as folder:
            file = Path(folder) / name
            write(file)
            output.say(f"Publishing {file.stat().st_size:,} bytes as {name} …", style="dim")
            uri = target.publish(file, name)
        output.say(f"Published: {uri}")
        output.fact(published=uri)
        return uri


def publication_options(command: F) -> F:
    """--publish, --published-as and --check; the command gets `publication`."""

    @click.option(
        "--publish",
        "target",
        metavar="TARGET",
        help="Publish the file first: to a folder, an https:// URL (PUT), or an IPFS node "
        "(ipfs+http://127.0.0.1:5001); an input also in the chain's blobs (blobs).",
    )
    @click.option(
        "--published-as", "base_uri", metavar="URI", help="The URI under which others see the folder of --publish."
    )
    @click.option(
        "--check/--no-check",
        "checks",
        default=True,
        help="Fetch what the URI names as another computer would, and go on only if it has the root. Default: check.",
    )
    @functools.wraps(command)
    def wrapped(*args: Any, target: str | None, base_uri: str | None, checks: bool, **kwargs: Any) -> Any:
        if base_uri is not None and target is None:
            raise click.UsageError("--published-as says how others see the folder of --publish: give that too")
        if base_uri is not None and target == BLOBS:
            raise click.UsageError("--published-as is for a folder, and --publish blobs takes none: leave it out")
        return command(*args, publication=PublicationOptions(target, base_uri, checks), **kwargs)

    return wrapped  # type: ignore[return-value]


def model_uri(options: PublicationOptions, program: Program, uri: str | None, output: Output) -> str:
    """Where the program can be fetched: published now, or as the operator says. Raises `CannotPublish`."""
    from opml_dispute.availability.store import program_name
    from opml_dispute.model.program_file import write_program

    if options.target is None:
        return uri or ""
    if options.in_blobs:
        raise click.UsageError(
            "blobs are kept for 18 days, and a model is needed for longer: publish it elsewhere "
            "(the folder of that name is ./blobs)"
        )
    return options.publish(program_name(program.model_root), lambda file: write_program(program, file), output)


def input_uri(options: PublicationOptions, image: bytes, uri: str | None, output: Output) -> str | None:
    """The same for an input; None if neither is asked for."""
    from opml_dispute.availability.store import input_name
    from opml_dispute.engine.segment import INPUT, section_root

    if options.target is None:
        return uri
    return options.publish(input_name(section_root(image, INPUT)), lambda file: file.write_bytes(image), output)


def check_model(
    options: PublicationOptions, store: ModelStore, model_id: ModelId, program: Program, uri: str, output: Output
) -> None:
    """Raises `NotCheckable` if others could not have the model, unless the operator wants no check."""
    from opml_dispute.operator.model_description import facts_to_be
    from opml_dispute.operator.outside_view import OutsideView

    if not uri and not store.is_sample(facts_to_be(program, uri)):
        output.say(
            "Without --uri or --publish no other account can check this model's answers: propose will refuse.",
            style="yellow",
        )
    if uri and _may_look(options, store, "model", output):
        with _hinted():
            OutsideView(store, trusts_earlier=False).expect_model(model_id, facts_to_be(program, uri))
            output.say("Fetched again from there: it has its root.", style="dim")


def check_input(options: PublicationOptions, store: ModelStore, image: bytes, uri: str, output: Output) -> None:
    """The same for an input."""
    from opml_dispute.engine.segment import INPUT, section_root
    from opml_dispute.operator.outside_view import OutsideView

    if _may_look(options, store, "input", output):
        with _hinted():
            root = bytes(section_root(image, INPUT))
            OutsideView(store, trusts_earlier=False).expect_input(root, uri, len(image))
            output.say("Fetched again from there: it has its root.", style="dim")


def _may_look(options: PublicationOptions, store: ModelStore, what: str, output: Output) -> bool:
    if not options.checks:
        return False
    if store.fetcher.policy.allow == "nothing":
        output.say(f"Whether others can fetch the {what} was not checked: nothing may be fetched here.", style="yellow")
        return False
    return True


class _hinted:
    """An error in here says what to do before something is registered or asked."""

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OpmlError):
            error.hint = _HINT
