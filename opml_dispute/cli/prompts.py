"""Options of a prompt: what is asked, and how the answer is to be drawn."""

from __future__ import annotations

import functools
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import click

from opml_dispute.cli.options import F

if TYPE_CHECKING:
    from opml_dispute.cli.output import Output
    from opml_dispute.generation.sampling import SamplingChoice

USUAL_TEMPERATURE: Final = 0.8
"""Where a request says how to draw, but no temperature."""


@dataclass(frozen=True)
class PromptOptions:
    """A prompt as it is typed."""

    text: str | None
    chat: bool
    temperature: float | None
    top_k: int | None
    top_p: float | None
    seed: int | None

    @property
    def draws(self) -> bool:
        """Whether anything is said about drawing."""
        return any(value is not None for value in (self.temperature, self.top_k, self.top_p, self.seed))

    def choice(self, output: Output) -> SamplingChoice | None:
        """
        How to draw; None if nothing is said about it. A seed that is not given is drawn here, and told.

        Raises `BadPrompt` for values out of range.
        """
        if not self.draws:
            return None
        from opml_dispute.generation.sampling import SamplingChoice

        choice = SamplingChoice(
            USUAL_TEMPERATURE if self.temperature is None else self.temperature,
            0 if self.top_k is None else self.top_k,
            1.0 if self.top_p is None else self.top_p,
            secrets.randbits(48) if self.seed is None else self.seed,
        )
        output.say(f"Drawn at temperature {choice.temperature:g} with seed {choice.seed}")
        output.fact(temperature=choice.temperature, top_k=choice.top_k, top_p=choice.top_p, seed=choice.seed)
        return choice


def prompt_options(command: F) -> F:
    """--prompt, --chat, --temperature, --top-k, --top-p and --seed; the command gets `asked`."""

    @click.option("--prompt", "text", metavar="TEXT", help="What a language model is to answer.")
    @click.option("--chat", is_flag=True, help="The prompt is what a user says in a chat, by the model's template.")
    @click.option(
        "--temperature",
        type=float,
        metavar="T",
        help=f"Draw the answer's tokens: logits are divided by T. Default: {USUAL_TEMPERATURE} if another of these "
        "options is given, else the greatest logit is taken.",
    )
    @click.option("--top-k", type=int, metavar="K", help="Draw among the K tokens of the greatest logits. Default: 64.")
    @click.option("--top-p", type=float, metavar="P", help="Draw among the fewest whose probabilities come to P.")
    @click.option("--seed", type=int, metavar="N", help="The seed of the draws. Default: another one each time.")
    @functools.wraps(command)
    def wrapped(
        *args: Any,
        text: str | None,
        chat: bool,
        temperature: float | None,
        top_k: int | None,
        top_p: float | None,
        seed: int | None,
        **kwargs: Any,
    ) -> Any:
        asked = PromptOptions(text, chat, temperature, top_k, top_p, seed)
        if text is None and (chat or asked.draws):
            which = (
                "--chat says how to read" if chat else "--temperature, --top-k, --top-p and --seed draw the answer to"
            )
            raise click.UsageError(f"{which} a prompt: give one with --prompt")
        return command(*args, asked=asked, **kwargs)

    return wrapped  # type: ignore[return-value]
