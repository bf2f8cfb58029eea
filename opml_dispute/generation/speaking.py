"""
Showing an answer while it is computed, token by token.

A whole run does not stop between nodes. So it runs in a thread of its own, and `tokens_of` reads the answer's place in
the segment from time to time: a token that is followed by one other than 0 has been written.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Final

import numpy as np

from opml_dispute.engine.inference import Inference
from opml_dispute.generation.choice import PADDING
from opml_dispute.generation.names import ANSWER
from opml_dispute.generation.talk import spoken

LOOKS_EVERY_S: Final = 0.01


def tokens_of(inference: Inference) -> Iterator[int]:
    """
    Runs an inference to its end, and gives the answer's tokens; none if it fails. Raises what `run_to` raises.

    ASSUMES that no other code touches the inference before the last token is taken.
    """
    (spec,) = (spec for spec in inference.program.outputs if spec.name == ANSWER)
    raised: list[BaseException] = []

    def run() -> None:
        try:
            inference.run_to(inference.program.node_count)
        except BaseException as error:  # passed to the waiting thread
            raised.append(error)

    def seen() -> list[int]:
        size = 8 * int(np.prod(spec.shape))
        return list(inference.glance(spec.offset, size).view(np.int64).tolist())

    thread = threading.Thread(target=run, daemon=True)
    given = 0
    if inference.is_typed:
        thread.start()
        while thread.is_alive():
            thread.join(LOOKS_EVERY_S)
            tokens = seen()
            written = max((i for i, token in enumerate(tokens) if token != 0), default=0)
            while given < written and tokens[given] != PADDING:
                yield tokens[given]
                given += 1
    else:
        run()
    if raised:
        raise raised[0]
    if inference.status == 0:
        yield from spoken(inference.outputs()[ANSWER].tolist())[given:]
