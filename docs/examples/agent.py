"""
An agent of one's own: challenges wrong answers about the models that it has, and collects what it wins.

    python docs/examples/agent.py RPC_URL DEPLOYMENT KEY_FILE

`opml-dispute agent` is the complete one: it also proposes, delivers, limits what it stakes and compares endpoints. This
one shows the parts that every agent is made of. It remembers nothing: what it has to do follows from the chain alone,
so it can be stopped at any moment and started again.
"""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

from opml_dispute import Deployment, Intent, ModelStore, OpmlError, Rpc, Sender, System, connect, open_case, perform
from opml_dispute.actors.player import play_round
from opml_dispute.chain.keys import load_account
from opml_dispute.operator.play import Seat, Table, one_by_one
from opml_dispute.operator.settle import read_settlement, settle_intents
from opml_dispute.primitives import Address


class OwnAgent:
    """Looks at every game of a deployment, again and again."""

    def __init__(self, system: System, sender: Sender, store: ModelStore) -> None:
        self.system, self.sender, self.store = system, sender, store
        self.sent = 0

    def run_pass(self) -> int:
        """Does what is owed now in every game; answers how many transactions that took."""
        before = self.sent
        for address in self.games():
            try:
                if self.system.games.read(address).in_progress:
                    self.play(address)
                self.collect(address)
            except OpmlError as error:  # one game that fails stops no other
                print(f"game {address}: {error}", file=sys.stderr)
        return self.sent - before

    def games(self) -> Iterator[Address]:
        """Every game that the factory made."""
        for index in range(self.system.rpc.read(self.system.factory.game_count())):
            yield self.system.rpc.read(self.system.factory.game_at(index)).address

    def play(self, address: Address) -> None:
        """Answers every claim that is wrong, if the root claim is wrong; a right one needs no help of ours."""
        game = self.system.games.read(address)
        case = open_case(self.system, game.request_id, store=self.store)
        if bytes(game.root.value) != bytes(case.final_root):
            play_round(Seat(Table(self.system, address, case.trace()), one_by_one(self.act)), case.trace())

    def collect(self, address: Address) -> None:
        """Resolves the game when its clocks allow it, and withdraws our bonds when their delays are over."""
        while intents := settle_intents(read_settlement(self.system, address, [self.sender.address])):
            for intent in intents:
                self.act(intent)

    def act(self, intent: Intent) -> object:
        """Sends one transaction and says so."""
        done = perform(intent, self.sender)
        self.sent += done.receipt is not None
        print(done.sentence, flush=True)
        return done


def main(rpc_url: str, deployment_file: str, key_file: str) -> None:
    """One pass after another, until interrupted."""
    system = connect(Rpc(rpc_url), Deployment.load(Path(deployment_file)))
    agent = OwnAgent(system, Sender(system.rpc, load_account(key_file=Path(key_file))), ModelStore.default())
    while True:
        agent.run_pass()
        time.sleep(12)


if __name__ == "__main__":
    main(*sys.argv[1:])
