"""A dispute about one token of an answer, down to the instruction: played in memory, the step by the real VM."""

from __future__ import annotations

from pathlib import Path

from opml_dispute.actors.actions import Step
from opml_dispute.actors.liars import Liar, Outputs
from opml_dispute.actors.player import play_round
from opml_dispute.cli.demo.language import attention_of
from opml_dispute.engine.inference import Inference
from opml_dispute.engine.segment import input_image
from opml_dispute.game.claim import GameStatus
from opml_dispute.game.depths import Depths
from opml_dispute.game.rules import subgame_roots_of
from opml_dispute.generation.files import open_model, read_checkpoint
from opml_dispute.generation.talk import AnswerProgram, first_difference, spoken
from opml_dispute.model.files import Binding
from opml_dispute.model.program import Program
from opml_dispute.models import LETTERS
from opml_dispute.trace.split import SplitTrace
from tests.generation.onnx_models import OnnxMade, write_decoder
from tests.support.builders import HONEST, MALLORY, Seat, snapshot
from tests.support.digits import guest, real_vm
from tests.support.reference_game import ReferenceGame, Rules

TOKEN = 5


def answer_changes(right: Outputs, wrong: Outputs) -> bool:
    return first_difference(right["answer"].tolist(), wrong["answer"].tolist()) is not None


def test_a_flipped_bit_in_one_tokens_attention_is_found() -> None:
    """The liar's answer says something else; the game names token, layer and node, and the VM's step decides."""
    vocabulary = read_checkpoint(LETTERS).vocabulary
    assert vocabulary is not None
    prompt = vocabulary.encode("Is the bridge open?")
    program = open_model(LETTERS, Binding(prompt_tokens=len(prompt) + 2, tokens=12))
    honest = answered(program, prompt)
    assert vocabulary.text(spoken(honest.outputs()["answer"].tolist())) == " Yes, the br"
    node = next(
        i
        for i, node in enumerate(program.nodes)
        if (node.op_type, node.name, node.kernel) == ("attention", f"token {TOKEN}, layer 1", "CONTRACT")
    )
    assert_found(program, honest, node)


def test_a_flipped_bit_in_an_exported_decoders_attention_is_found(tmp_path: Path) -> None:
    """The same for a graph whose nodes do not say what is attention: a product before the Softmax of a token."""
    file = write_decoder(tmp_path, OnnxMade(layers=1))
    program = open_model(file, Binding(prompt_tokens=5, tokens=8))
    scores, sums = attention_of(program.nodes, TOKEN)
    assert scores < sums
    for node in (scores, sums):
        assert program.nodes[node].name.startswith(f"token {TOKEN}/")
        assert program.nodes[node].kernel == "CONTRACT"
    assert_found(program, answered(program, [3, 1, 4]), sums)


def answered(program: Program, prompt: list[int]) -> Inference:
    shape = AnswerProgram.of(program.inputs, program.outputs)
    assert shape is not None
    return Inference(program, input_image(program.inputs, shape.inputs(prompt)))


def assert_found(program: Program, honest: Inference, node: int) -> None:
    """A liar flips a bit in `node` so that the answer changes; the game comes down to that node, and the liar loses."""
    faulty = Liar(program, honest.input_image, honest, guest()).find(1, goal=answer_changes, node_index=node)
    depths = Depths.for_model(program.node_count, program.log2_steps)
    assert depths.max <= 50
    rules = Rules(
        max_depth=depths.max,
        split_depth=depths.split,
        node_count=program.node_count,
        starting_root=honest.state_root(0),
        absolute_prestate=guest().state_hash(),
    )
    table = ReferenceGame(rules, real_vm, MALLORY, faulty.root_claim)
    truth, lie = SplitTrace(honest, guest(), node_count=program.node_count), faulty.trace(guest())
    ours, theirs = Seat(table, HONEST), Seat(table, MALLORY)
    steps: list[Step] = []
    while table.status == 0:
        done = [play_round(ours, truth), play_round(theirs, lie)]
        steps += [action for action in done[0].done if isinstance(action, Step)]
        if not any(played.done for played in done):
            table.now += table.rules.max_clock
    game = snapshot(table)
    assert game.status == GameStatus.CHALLENGER_WINS
    assert len(steps) == 1
    leaf = game.claims[steps[0].claim_index]
    assert subgame_roots_of(game, leaf.index).node_index(game) == node
    first = first_difference(honest.outputs()["answer"].tolist(), faulty.outputs()["answer"].tolist())
    assert first is not None
    assert first >= TOKEN
