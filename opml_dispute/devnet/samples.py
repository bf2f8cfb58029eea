"""Registration of the sample model, and deployment of its example consumer, for local chains and demos."""

from __future__ import annotations

from pathlib import Path

from opml_dispute.chain.artifacts import load_artifact
from opml_dispute.chain.contracts.oracle import ModelRegistry
from opml_dispute.chain.deployment import Deployment
from opml_dispute.chain.sender import Sender
from opml_dispute.chain.transactions import Creation
from opml_dispute.model.compiler import compile_model
from opml_dispute.models import DIGITS
from opml_dispute.operator.model_description import describe_model
from opml_dispute.operator.model_store import registration
from opml_dispute.primitives import Address, ModelId

SAMPLE_URI = "package:opml_dispute/models/digits.onnx"
READER = "digit_reader"
"""The example consumer's name in the deployment file."""


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
