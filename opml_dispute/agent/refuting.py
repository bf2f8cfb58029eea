"""
Inputs in blobs that are not what they are said to be, refuted for their bonds (docs/game.md, "Inputs in blobs").

`Refuter.refute` looks in each pass at the publications of the inputs of open requests, and of requests that games in
progress are about. Another process (`operator.blob_process`) fetches blobs and computes on them, one publication at a
time, so that no game waits for a slow source or a large publication (`publication_looks`). A wrong publication is
refuted if its bond pays for the gas: a commitment in one pass, the refutation in a later one. Which of the two is due
follows from the chain, and a publication that was refuted stands no more, so an agent that was killed in between
refutes once all the same.
"""

from __future__ import annotations

from collections.abc import Mapping

from opml_dispute.agent.context import AgentContext, Pass
from opml_dispute.agent.publication_looks import PublicationLooks
from opml_dispute.chain.amounts import about_ether, ether
from opml_dispute.chain.contracts.oracle import RequestRecord
from opml_dispute.chain.input_blobs import publication_terms
from opml_dispute.chain.reverts import Reverted
from opml_dispute.errors import OpmlError
from opml_dispute.operator.blob_refuting import WrongPublication, bill_of, commit_intent, refute_intent
from opml_dispute.primitives import RequestId


class Refuter:
    """Of one deployment."""

    def __init__(self, context: AgentContext) -> None:
        self._context = context
        config = context.config
        # As everything else, in the agent's own process where there are no workers.
        self._looks = PublicationLooks(
            context.system, config.fetch.blobs, context.log, own_process=bool(config.workers)
        )

    def close(self) -> None:
        """Ends what is on its way."""
        self._looks.close()

    def forget(self) -> None:
        """After a reorganisation: another publication may have this id. What is being looked at is looked at again."""
        self._looks.forget()

    def refute(self, now: Pass, open_: Mapping[RequestId, RequestRecord]) -> None:
        """
        Looks at the next publication, and takes the next step against each that is wrong.

        What cannot be read, had, or paid for by its bond is a trouble of this pass and keeps nothing else waiting.
        """
        try:
            # Fixed for the contract's life, and read each time all the same: a node may err once.
            terms = publication_terms(self._context.system.rpc, self._context.system.input_blobs)
            disputed = [game.request_id for game in now.games.values()]
            standing = self._looks.read(now.head, set(self._looks.roots_of(now.head, open_, disputed).values()))
        except OpmlError as error:
            now.trouble("Inputs in blobs cannot be read", error)
            return
        self._looks.go_on(standing)
        wrong = 0
        for id_, look in self._looks.looks.items():
            if isinstance(look.outcome, WrongPublication):
                wrong += 1
                self._act(now, look.outcome, terms.reward_wei if standing[id_].holds_bond else 0)
            elif look.outcome is not None:
                now.trouble(f"Publication 0x{id_.hex()} cannot be looked at", look.outcome)
        self._context.metrics.publications_wrong.set(wrong)

    # ---- refuting ----

    def _act(self, now: Pass, fault: WrongPublication, reward_wei: int) -> None:
        """The commitment, or in a later block the refutation."""
        context, name = self._context, f"Publication 0x{fault.publication.publication_id.hex()} is wrong"
        refutation = refute_intent(context.system, fault, reward_wei)
        try:
            due = commit_intent(context.system, fault, context.sender.address) or refutation
            cost_wei = bill_of(context.sender, fault, due)
            kept_wei = context.config.reserve_wei + sum(context.committed_wei.values())
            free_wei = max(0, context.system.rpc.balance_wei(context.sender.address) - kept_wei)
        except Reverted as refusal:
            # A commitment counts from the next block on; what another account refuted first is not looked at again.
            if refusal.name not in {"RefutationNotCommitted", *refutation.done_already}:
                now.trouble(name, refusal)
            return
        except OpmlError as error:
            now.trouble(name, error)
            return
        if cost_wei > reward_wei:
            now.trouble(name, f"refuting it can cost {about_ether(cost_wei)} of gas, and pays {ether(reward_wei)}")
        elif cost_wei > free_wei:
            now.trouble(name, f"refuting it can cost {about_ether(cost_wei)} of gas, and {ether(free_wei)} are free")
        else:
            context.act(now, None, [due])
