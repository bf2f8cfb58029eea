"""
A request from Python: asks the registered model about an image, waits for the delivery, and prints the output.

    opml-dispute devnet start
    D=~/.local/share/opml-dispute/devnet
    python docs/examples/request.py http://127.0.0.1:8545 $D/deployment.json $D/requester.key

The answer comes from a proposer, so run `opml-dispute propose` (or an agent) meanwhile. On the local chain,
`opml-dispute devnet warp` makes the waiting short.
"""

import sys
import time
from pathlib import Path

from opml_dispute import (
    Deployment,
    Rpc,
    Sender,
    System,
    connect,
    digit_samples,
    new_request_id,
    perform,
    request_intent,
)
from opml_dispute.chain.contracts.contract import ZERO_ADDRESS
from opml_dispute.chain.events import logs_between
from opml_dispute.chain.keys import load_account
from opml_dispute.engine.segment import OUTPUT, input_image, tensors
from opml_dispute.operator.model_description import slots_from_json
from opml_dispute.primitives import ModelId, RequestId

FEE_WEI = 10**16


def ask(system: System, sender: Sender, model_id: ModelId) -> RequestId:
    """Sends the request; its fee goes to the proposer of the answer that is delivered."""
    model = system.rpc.read(system.registry.model(model_id))
    images, _ = digit_samples()
    image = input_image(slots_from_json(model.inputs, model.input_bytes), {"image": images[:1]})
    done = perform(request_intent(system, model_id, image, fee_wei=FEE_WEI), sender)
    assert done.receipt is not None, "a request is never made by another account"
    return new_request_id(system, done.receipt)


def wait_for_output(system: System, request_id: RequestId, *, pause_s: float = 1.0) -> bytes:
    """The output image, once a game about the request has survived and its output was delivered."""
    first = system.rpc.head().number
    while system.rpc.read(system.oracle.request_of(request_id)).delivered_by == ZERO_ADDRESS:
        time.sleep(pause_s)
    topic = system.oracle.artifact().events["InferenceDelivered"].topic
    topics = ["0x" + topic.hex(), "0x" + request_id.hex()]
    logs = logs_between(system.rpc, system.oracle.address, topics, first, system.rpc.head().number)
    (event,) = system.oracle.delivered(logs)
    return bytes(event["output"])


def main(rpc_url: str, deployment_file: str, key_file: str) -> None:
    """Asks, waits, prints."""
    system = connect(Rpc(rpc_url), Deployment.load(Path(deployment_file)))
    sender = Sender(system.rpc, load_account(key_file=Path(key_file)))
    model_id = ModelId(system.rpc.read(system.registry.model_id_at(0)))
    request_id = ask(system, sender, model_id)
    print(f"request 0x{request_id.hex()}", flush=True)
    output = wait_for_output(system, request_id)
    model = system.rpc.read(system.registry.model(model_id))
    scores = tensors(slots_from_json(model.outputs, model.output_bytes, OUTPUT), output, OUTPUT)["probabilities"]
    print(f"digit {int(scores.argmax())}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
