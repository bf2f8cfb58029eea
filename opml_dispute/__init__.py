"""
Dispute machine-learning results on a blockchain: a two-phase fault dispute game over ONNX models.

The names below are the public Python interface. Each is imported from its module when it is first used, so that `import
opml_dispute` is fast and `Inference` needs no chain library. docs/python.md shows how they are used; what is not named
here may change without notice.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

__version__ = "0.1.0"

if TYPE_CHECKING:
    from opml_dispute.actors.faults import Fault as Fault
    from opml_dispute.actors.honest import honest_actions as honest_actions
    from opml_dispute.actors.honest import resolution_actions as resolution_actions
    from opml_dispute.actors.liars import Liar as Liar
    from opml_dispute.chain.deployment import Deployment as Deployment
    from opml_dispute.chain.rpc import Rpc as Rpc
    from opml_dispute.chain.sender import Sender as Sender
    from opml_dispute.chain.system import System as System
    from opml_dispute.chain.system import connect as connect
    from opml_dispute.chain.web3_client import as_web3 as as_web3
    from opml_dispute.chain.web3_client import web3_contract as web3_contract
    from opml_dispute.engine.inference import Inference as Inference
    from opml_dispute.engine.vm import Machine as Machine
    from opml_dispute.errors import OpmlError as OpmlError
    from opml_dispute.game.claim import Claim as Claim
    from opml_dispute.game.claim import Game as Game
    from opml_dispute.game.depths import Depths as Depths
    from opml_dispute.game.position import Position as Position
    from opml_dispute.model.compiler import compile_model as compile_model
    from opml_dispute.model.program import Program as Program
    from opml_dispute.models import DIGITS as DIGITS
    from opml_dispute.models import digit_samples as digit_samples
    from opml_dispute.operator.case import Case as Case
    from opml_dispute.operator.case import open_case as open_case
    from opml_dispute.operator.inference import delivery_intent as delivery_intent
    from opml_dispute.operator.inference import new_request_id as new_request_id
    from opml_dispute.operator.inference import proposal_intent as proposal_intent
    from opml_dispute.operator.inference import request_intent as request_intent
    from opml_dispute.operator.intents import Intent as Intent
    from opml_dispute.operator.intents import perform as perform
    from opml_dispute.operator.model_store import ModelStore as ModelStore
    from opml_dispute.trace.guest import absolute_prestate as absolute_prestate
    from opml_dispute.trace.guest import guest_machine as guest_machine
    from opml_dispute.trace.split import SplitTrace as SplitTrace

PUBLIC: Final = {
    # A model and its inference.
    "compile_model": "model.compiler",
    "Program": "model.program",
    "Inference": "engine.inference",
    "DIGITS": "models",
    "digit_samples": "models",
    # The VM.
    "Machine": "engine.vm",
    "guest_machine": "trace.guest",
    "absolute_prestate": "trace.guest",
    # The game.
    "Position": "game.position",
    "Claim": "game.claim",
    "Game": "game.claim",
    "Depths": "game.depths",
    # Playing it.
    "SplitTrace": "trace.split",
    "honest_actions": "actors.honest",
    "resolution_actions": "actors.honest",
    "Liar": "actors.liars",
    "Fault": "actors.faults",
    # A chain, and an operator's actions on it.
    "Rpc": "chain.rpc",
    "Sender": "chain.sender",
    "Deployment": "chain.deployment",
    "System": "chain.system",
    "connect": "chain.system",
    "as_web3": "chain.web3_client",
    "web3_contract": "chain.web3_client",
    "ModelStore": "operator.model_store",
    "Case": "operator.case",
    "open_case": "operator.case",
    "Intent": "operator.intents",
    "perform": "operator.intents",
    "request_intent": "operator.inference",
    "new_request_id": "operator.inference",
    "proposal_intent": "operator.inference",
    "delivery_intent": "operator.inference",
    # What can go wrong.
    "OpmlError": "errors",
}
"""Each public name and the module that defines it, in the order of docs/python.md."""

__all__ = [
    *PUBLIC,
    "__version__",
]


def __getattr__(name: str) -> object:
    """Imports a public name when it is first used."""
    if name not in PUBLIC:
        raise AttributeError(f"module 'opml_dispute' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"opml_dispute.{PUBLIC[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *PUBLIC})
