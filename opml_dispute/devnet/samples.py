"""The sample model on a chain: its registration, its example consumer for local chains and demos, and finding it."""

from __future__ import annotations

from pathlib import Path

from opml_dispute.chain.artifacts import load_artifact
from opml_dispute.chain.contracts.oracle import ModelRegistry
from opml_dispute.chain.deployment import Deployment
from opml_dispute.chain.sender import Sender
from opml_dispute.chain.system import System
from opml_dispute.chain.transactions import Creation
from opml_dispute.model.compiler import compile_model
from opml_dispute.models import DIGITS
from opml_dispute.operator.model_description import describe_model
from opml_dispute.operator.model_store import registration
from opml_dispute.primitives import Address, ModelId

SAMPLE_URI = "package:opml_dispute/models/digits.onnx"
READER = "digit_reader"
"""The example consumer's name in the deployment file."""


def sample_model_id(system: System) -> ModelId | None:
    """
    The registered model that is the package's digit reader; None if there is none.

    It is the one with the package's own URI, else the first whose root and tensors are the sample's.
    """
    ours, registry = describe_model(compile_model(DIGITS), SAMPLE_URI), system.registry
    model_id = ModelId(system.rpc.read(registry.model_id_of(ours)))
    if system.rpc.read(registry.is_registered(model_id)):
        return model_id
    ids = system.rpc.read_range(registry.model_id_at, range(system.rpc.read(registry.model_count())))
    models = system.rpc.read_each([registry.model(id_) for id_ in ids])
    wanted = (ours.model_root, ours.inputs, ours.outputs)
    found = (id_ for id_, m in zip(ids, models, strict=True) if (m.model_root, m.inputs, m.outputs) == wanted)
    return next(found, None)


def deploy_samples(sender: Sender, deployment: Deployment, path: Path) -> ModelId:
    """Register the sample model and deploy its consumer, unless that was done, and answer the model's id."""
    program = compile_model(DIGITS)
    description = describe_model(program, SAMPLE_URI)
    registry = ModelRegistry(deployment.addresses["registry"])
    model_id = ModelId(sender.rpc.read(registry.model_id_of(description)))
    if not sender.rpc.read(registry.is_registered(model_id)):
        sender.send(registration(registry, program, description))
    if READER not in deployment.addresses:
        arguments = (deployment.addresses["oracle"], model_id)
        receipt = sender.send(Creation(load_artifact("DigitReader"), arguments))
        assert receipt.created is not None
        deployment.addresses[READER] = Address(receipt.created)
        deployment.save(path)
    return model_id
