"""
A dispute about a language model's answer, on a local chain, from the request to the payout.

`dispute_an_answer` registers the model, makes a request, lets a liar flip one bit within the attention of one token so
that the answer changes, and lets an honest challenger dispute it down to that instruction. Its result, an
`AnswerDispute`, has the two answers, the first token that differs, the disputed instruction, and the moves, gas and
time of the dispute.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from opml_dispute.actors.liars import FaultyInference, Liar, NoFaultFound, Outputs
from opml_dispute.chain.requests import read_request
from opml_dispute.cli.demo.measured import MeasuredDispute, Measuring
from opml_dispute.cli.demo.stage import Stage
from opml_dispute.engine.segment import input_image
from opml_dispute.generation.files import compile_language_model, read_language_model
from opml_dispute.generation.names import ANSWER
from opml_dispute.generation.refusals import NoTokenizer
from opml_dispute.generation.talk import AnswerProgram, first_difference, marked, prompt_of, spoken
from opml_dispute.model.files import Binding
from opml_dispute.model.program import NodeInfo
from opml_dispute.operator.case import Case
from opml_dispute.operator.inference import new_request_id, request_intent

SCORE_BITS = (29, 28, 27)
"""
Bits to flip in a score, which is usually 2 or more as a binary32 number: each is a factor of 2^64, 2^32 or 2^16.

They are clear in such a number and set in a smaller one, which nearly vanishes. A score that grows makes one head
attend to one token only, and the answer continues in other words. A few of a hundred faults do so.
"""
SCORE_ATTEMPTS = 60
SUM_BITS = (30,)
"""The bit to flip in an attention's sums, which are usually less than 2: a factor of 2^128. The answer mostly breaks
off."""
SUM_ATTEMPTS = 100


@dataclass
class AnswerDispute(MeasuredDispute):
    """The result of a dispute about an answer; `place` is token, layer and part of the disputed node."""

    prompt: str = ""
    right: str = ""
    told: str = ""
    right_marked: str = ""
    """`right`, with marks around the first token in which the two differ."""
    told_marked: str = ""
    first_wrong_token: int = 0
    """The index of the first wrong token of the answer, counted from 0."""
    prompt_tokens: int = 0
    tokens: int = 0


def dispute_an_answer(
    stage: Stage,
    file: Path,
    prompt: str,
    *,
    chat: bool,
    tokens: int,
    lie_at: int,
    seed: int,
    tell: Callable[[str], None] = lambda sentence: None,
) -> AnswerDispute:
    """
    Play the whole dispute; the liar's bit flips while token `lie_at` of the answer, counted from 0, is computed.

    Raises `NoFaultFound` if no bit there changes the answer, `DisputeBroken` if the liar wins, and the errors of
    reading the model.
    """
    result = AnswerDispute(prompt=prompt, tokens=tokens)
    system, measuring = stage.system, Measuring(stage, result)
    with measuring.timed("compile"):
        language_model = read_language_model(file)
        vocabulary = language_model.vocabulary
        if vocabulary is None:
            raise NoTokenizer(f"{file.name} has no tokenizer that is known here")
        asked = prompt_of(vocabulary, prompt, chat=chat)
        binding = Binding(prompt_tokens=len(asked), tokens=tokens)
        program = compile_language_model(language_model, binding, file.name)
        shape = AnswerProgram(len(asked), tokens)
        image = input_image(program.inputs, shape.inputs(asked))
    result.prompt_tokens, result.nodes, result.log2_steps = len(asked), program.node_count, program.log2_steps
    tell(f"{program.node_count:,} nodes of at most 2^{program.log2_steps} VM steps")
    with measuring.timed("register and ask"):
        model_id = measuring.register(program, file.name)
        done = measuring.act("requester", request_intent(system, model_id, image, fee_wei=0))
        assert done.receipt is not None
        request_id = new_request_id(system, done.receipt)
        registered = system.rpc.read(system.registry.model(model_id))
        case = Case(request_id, read_request(system, request_id), registered, program, image)
    with measuring.timed("answer"):
        right = spoken(case.outputs[ANSWER].tolist())
        result.right = vocabulary.text(right)
    with measuring.timed("lie"):
        faulty = _lie(case, lie_at, seed, tell)
        wrong = spoken([int(token) for token in faulty.outputs()[ANSWER].tolist()])
    result.told, result.fault = vocabulary.text(wrong), str(faulty)
    parts = first_difference(right, wrong)
    result.first_wrong_token = len(right) if parts is None else parts
    result.right_marked = marked(vocabulary, right, result.first_wrong_token)
    result.told_marked = marked(vocabulary, wrong, result.first_wrong_token)
    tell(f"the answer:     {result.right_marked!r}")
    tell(f"the liar says:  {result.told_marked!r}")
    tell(f"they differ from token {result.first_wrong_token}; {faulty}")
    game = measuring.dispute(case, faulty, tell)
    with measuring.timed("settle"):
        measuring.settle(game, "challenger", "proposer")
    measuring.finish(game)
    return result


def _lie(case: Case, token: int, seed: int, tell: Callable[[str], None]) -> FaultyInference:
    """A faulty inference, with the fault in the middle layer's attention of a token, that changes the answer from there
    on. Raises `NoFaultFound`."""
    scores, sums = attention_of(case.program.nodes, token)
    place = case.program.nodes[scores].name
    tell(f"the liar looks for a bit in the attention of {place} whose flip changes the answer …")

    def turns(right: Outputs, wrong: Outputs) -> bool:
        return first_difference(right[ANSWER].tolist(), wrong[ANSWER].tolist()) is not None

    liar: Liar = case.liar()
    try:
        return liar.find_weighty(seed, scores, SCORE_BITS, goal=turns, attempts=SCORE_ATTEMPTS)
    except NoFaultFound:
        return liar.find_weighty(seed, sums, SUM_BITS, goal=turns, attempts=SUM_ATTEMPTS)


def attention_of(nodes: Sequence[NodeInfo], token: int) -> tuple[int, int]:
    """
    The first node of the products of queries and keys in a token's middle layer, and the last of the sums of values.

    An exported decoder does not say what attention is, unless by an operator of that name: it is what is around a
    Softmax. Raises `NoFaultFound` where there is neither.
    """
    mine = [i for i, node in enumerate(nodes) if re.match(rf"token {token}\b", node.name)]
    contracts = [i for i in mine if nodes[i].kernel == "CONTRACT"]
    named = [i for i in contracts if nodes[i].op_type in _ATTENTION]
    if named:
        places = sorted({nodes[i].name for i in named}, key=[nodes[i].name for i in named].index)
        layer = [i for i in named if nodes[i].name == places[len(places) // 2]]
        return layer[0], layer[-1]
    powers = [i for i in mine if (nodes[i].op_type, nodes[i].kernel) == ("Softmax", "UNARY.EXP")]
    if not powers:
        raise NoFaultFound(f"token {token} of this program has no attention that is known here")
    middle = powers[len(powers) // 2]
    before, behind = ([i for i in contracts if (i < middle) == is_before] for is_before in (True, False))
    if not before or not behind:
        raise NoFaultFound(f"nothing is multiplied around the Softmax of token {token}")
    return before[-1], behind[0]


_ATTENTION = ("attention", "Attention", "MultiHeadAttention", "GroupQueryAttention", "QAttention")
"""Operators that hold both products."""
