"""
One trial of a scenario: from a seed to one row of figures.

`play` makes a chain, an honest operator who checks, an honest proposer for the true proposals, the attackers, and the
games; lets events happen until every game has paid out; and measures. Same scenario, same seed: same row.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import simpy

from opml_dispute.engine.hashing import keccak256
from opml_dispute.game.claim import Claim, Game, GameStatus
from opml_dispute.game.clock import ClockSettings
from opml_dispute.game.position import ROOT
from opml_dispute.primitives import Address, Hash32, RequestId
from opml_dispute.simulation import fees
from opml_dispute.simulation.accounts import ETHER, Purse
from opml_dispute.simulation.attackers import Attacker, Freeloader, Liar, RandomAttacker, Sybil, front_run, settle_late
from opml_dispute.simulation.bonds import BondRule, GasCurve, from_gas, op_stack
from opml_dispute.simulation.chain import Chain
from opml_dispute.simulation.evm import Contracts, Evm
from opml_dispute.simulation.honest_operator import Operator
from opml_dispute.simulation.referee import Referee, first_clock
from opml_dispute.simulation.scenario import AttackerSection, BondSection, FeeSection, Scenario
from opml_dispute.simulation.symbolic import Digest, Fault, Inference, Trace, prestate, sha256

HOUR_S = 3_600
CHECKER = Address("0x" + "c" * 40)
"""The honest operator who checks proposals and challenges wrong ones."""
PROPOSER = Address("0x" + "a" * 40)
"""The honest operator who makes the true proposals and defends them."""
IDLE_LIAR = Address("0x" + "1" * 40)
"""Proposes lies and defends none: where no attacker with the strategy `liar` does."""
BRIBER = Address("0x" + "b" * 40)


@dataclass(frozen=True, slots=True)
class GameResult:
    """How one game of a trial ended."""

    proposal_is_true: bool
    status: GameStatus
    delay_s: float
    """From its creation to its resolution, less what an undisputed game takes."""
    claims: int
    disputed: bool
    honest_won: bool
    """Whether the truth won."""


def bond_rule(section: BondSection) -> BondRule:
    """The bonds that a scenario asks for."""
    if section.curve == "op-stack":
        return op_stack()
    return from_gas(gas_curve(section))


def gas_curve(section: BondSection) -> GasCurve:
    """The curve of a scenario whose bonds pay for gas."""
    return GasCurve(
        root_gas=section.root_gas,
        floor_gas=section.floor_gas,
        growth=section.growth,
        assumed_fee_wei=int(section.assumed_base_fee_gwei * fees.GWEI),
        safety=section.safety,
        burnt_share=section.burnt_share,
    )


def fee_path(section: FeeSection, seed: int, horizon_s: float) -> fees.FeePath:
    """One realisation of a scenario's base fee."""
    chance = np.random.default_rng(seed)
    fee_wei = section.base_fee_gwei * fees.GWEI
    if section.process == "constant":
        return fees.constant(fee_wei)
    duration_s = int(min(horizon_s, fees.YEAR_S))
    if section.process == "spikes":
        return fees.spikes(
            fee_wei,
            chance,
            factor=section.spike_factor,
            per_day=section.spikes_per_day,
            length_s=section.spike_h * HOUR_S,
            duration_s=duration_s,
        )
    return fees.year(fee_wei, chance, duration_s=duration_s)


def play(scenario: Scenario, seed: int) -> dict[str, Any]:
    """One trial; its row. Contracts are executed in this process."""
    return Trial(scenario, seed).run()


class Trial:
    """One trial in the making."""

    def __init__(
        self, scenario: Scenario, seed: int, digest: Digest | None = None, contracts: Contracts | None = None
    ) -> None:
        """
        `digest`: the hash function of claimed values; by default SHA-256 for the rules, Keccak-256 for contracts.
        `contracts`: the chain of the contract level, for all games of the trial; by default one in this process each.
        """
        self.contracts = contracts
        if digest is None:
            digest = sha256 if scenario.level == "rules" else keccak256
        self.scenario, self.seed = scenario, seed
        self.chance = random.Random(f"{scenario.seed} {seed}")
        self.horizon_s = scenario.horizon_days * 86_400
        self.env = simpy.Environment()
        path = fee_path(scenario.fees, self.chance.getrandbits(63), self.horizon_s)
        self.chain = Chain(self.env, scenario, path, random.Random(self.chance.getrandbits(63)))
        self.bonds = bond_rule(scenario.bonds)
        self.operators = {
            address: Operator(self.chain, address, scenario, random.Random(self.chance.getrandbits(63)))
            for address in (CHECKER, PROPOSER)
        }
        self.attacker_accounts = [Address(f"0x{0xE000 + place:040x}") for place in range(len(scenario.attacker))]
        for address in (CHECKER, PROPOSER):
            self.chain.purses[address] = Purse(int(scenario.honest.funds_eth * ETHER))
        for address, section in zip(self.attacker_accounts, scenario.attacker, strict=True):
            self.chain.purses[address] = Purse(int(section.budget_eth * ETHER))
            if section.front_runs:
                front_run(self.chain, address, section, self.chance)
        self.chain.purses[IDLE_LIAR] = Purse(10**9 * ETHER)
        self.chain.briber = self.chain.purses[BRIBER] = Purse(10**9 * ETHER)
        self.digest = digest
        outdated = scenario.honest.outdated_share
        self.is_outdated = bool(outdated) and self.chance.random() < outdated
        self.outdated_salt = self.chance.getrandbits(62) + 1 if self.is_outdated else 0
        self.truths: dict[Address, bool] = {}
        self.paid_out = 0

    def run(self) -> dict[str, Any]:
        """Plays everything out."""
        load = self.scenario.load
        times = sorted(self.chance.uniform(0, load.arrival_h * HOUR_S) for _ in range(load.games))
        finished = [self.env.process(self._game(number, time_s)) for number, time_s in enumerate(times)]
        if load.spam_per_hour:
            self.env.process(self._spam(load.spam_per_hour / HOUR_S))
        self.env.run(until=self.env.any_of([self.env.all_of(finished), self.env.timeout(self.horizon_s)]))
        return self._row()

    # --- games ---

    def _game(self, number: int, starts_s: float) -> Any:
        yield self.env.timeout(starts_s)
        scenario, chance = self.scenario, self.chance
        is_true = scenario.game.proposal == "true" or (
            scenario.game.proposal == "mixed" and chance.random() >= scenario.game.false_share
        )
        steps = 1 << scenario.game.log2_steps
        inference = Inference(chance.getrandbits(62), scenario.game.nodes, steps, self.digest)
        lie = Trace(inference, self._fault(inference))
        if chance.random() < scenario.exceptions.share and scenario.exceptions.handling == "reverts":
            # The liar's fault is the exception itself: the dispute comes to that very instruction.
            assert lie.fault is not None
            inference = replace(inference, reverts_after=lie.fault.after_step)
        truth = Trace(inference)
        taking_part = [section for section in scenario.attacker if chance.random() < section.games_share]
        liars = [section for section in taking_part if section.strategy == "liar"]
        account = self.attacker_accounts[scenario.attacker.index(liars[0])] if liars else IDLE_LIAR
        proposer = PROPOSER if is_true else account
        address = Address(f"0x{0x6000_0000 + number:040x}")
        first = self._first(address, inference, proposer, (truth if is_true else lie).root_claim())
        table = self.chain.open(self._referee(first, inference))
        self.truths[address] = is_true
        for section in taking_part:
            fault = lie if section is (liars[0] if liars else None) else Trace(inference, self._fault(inference))
            self.env.process(self._attacker(section, address, fault).play())
        self._honest_play(address, inference, truth, is_true=is_true)
        self.env.process(settle_late(self.chain, address, IDLE_LIAR))
        while table.referee.game.in_progress:
            yield table.changed
        yield self.env.timeout(scenario.game.finality_delay_h * HOUR_S)
        self._pay_out(address)

    def _referee(self, first: Game, inference: Inference) -> Referee:
        if self.scenario.level == "rules":
            return Referee(first, inference, self.bonds)
        from opml_dispute.simulation.contract_referee import ContractReferee  # needs more libraries than the rules

        return ContractReferee(first, inference, self.bonds, self.contracts or Evm())

    def _fault(self, inference: Inference) -> Fault:
        node = self.chance.randrange(inference.node_count)
        return Fault(node, self.chance.randrange(3, inference.steps_per_node), self.chance.getrandbits(62) + 1)

    def _first(self, address: Address, inference: Inference, proposer: Address, root: Hash32) -> Game:
        settings, now_s = self.scenario.game, int(self.env.now)
        depths = self.scenario.depths
        bond_wei = self.bonds.required_wei(0, depths.max)
        clocks = ClockSettings(
            int(settings.max_clock_h * HOUR_S), int(settings.extension_h * HOUR_S), settings.challenge_period_s
        )
        claim = Claim(0, None, None, proposer, bond_wei, root, ROOT, first_clock(now_s))
        return Game(
            address=address,
            request_id=RequestId(bytes(32)),
            status=GameStatus.IN_PROGRESS,
            created_at_s=now_s,
            depths=depths,
            clocks=clocks,
            node_count=inference.node_count,
            starting_root=inference.first_root(),
            absolute_prestate=prestate(inference.digest),
            chain_id=1,
            l1_head=Hash32(bytes(32)),
            claims=(claim,),
            resolved_at_s=0,
            terms=self.bonds.terms,
        )

    def _attacker(self, section: AttackerSection, game: Address, lie: Trace) -> Attacker:
        account = self.attacker_accounts[self.scenario.attacker.index(section)]
        if section.strategy == "liar":
            return Liar(self.chain, game, account, section, self.chance, lie)
        if section.strategy == "random":
            return RandomAttacker(self.chain, game, account, section, self.chance)
        kind = Freeloader if section.strategy == "freeloader" else Sybil
        return kind(self.chain, game, account, section, self.chance, frozenset((CHECKER, PROPOSER)))

    def _honest_play(self, game: Address, inference: Inference, truth: Trace, *, is_true: bool) -> None:
        honest, data = self.scenario.honest, self.scenario.data
        checker, chance = self.operators[CHECKER], self.chance
        withheld = chance.random() < data.withheld_share
        after_s = None if withheld and not data.withheld_h else data.withheld_h * HOUR_S if withheld else 0.0
        is_faulty = chance.random() < honest.faulty_share
        checks = chance.random() < honest.check_share
        if is_true:
            self.operators[PROPOSER].watch(game, truth, checks_first=False)
        # An outsider has nothing to do in a true proposal's game, unless its own machine tells it otherwise.
        if not checks:
            checker.diary.unchecked += 1
        elif self.is_outdated:
            node = inference.node_count // 2
            wrong = Trace(inference, Fault(node, inference.steps_per_node // 2, self.outdated_salt))
            checker.watch(game, wrong, checks_first=True, data_after_s=after_s)
        elif is_faulty:
            wrong = Trace(inference, self._fault(inference))
            checker.watch(game, wrong, checks_first=True, data_after_s=after_s)
        elif not is_true:
            checker.watch(game, truth, checks_first=True, data_after_s=after_s)
        else:
            checker.check_request()

    def _spam(self, per_s: float) -> Any:
        while True:
            yield self.env.timeout(self.chance.expovariate(per_s))
            self.operators[CHECKER].check_request()

    def _pay_out(self, address: Address) -> None:
        money = self.chain.tables[address].referee.money
        for account in money.staked_wei | money.awarded_wei:
            purse = self.chain.purses[account]
            awarded_wei = money.awarded_wei.get(account, 0)
            purse.release(money.staked_wei.get(account, 0), awarded_wei, self.env.now)
            if awarded_wei:
                operator = self.operators.get(account)
                paid_s = self.env.now if operator is None else operator.cheap_at_s(math.inf)
                purse.gas_wei += self.chain.gas.payout * self.chain.base_fee_wei(paid_s)
        self.paid_out += 1

    # --- figures ---

    def _results(self) -> list[GameResult]:
        results = []
        for address, table in self.chain.tables.items():
            game = table.referee.game
            is_true = self.truths[address]
            ended_s = game.resolved_at_s if not game.in_progress else self.env.now
            right = GameStatus.DEFENDER_WINS if is_true else GameStatus.CHALLENGER_WINS
            delay_s = ended_s - game.created_at_s - game.clocks.max_clock_s
            disputed = len(game.claims) > 1
            results.append(GameResult(is_true, game.status, delay_s, len(game.claims), disputed, game.status == right))
        return results

    def _row(self) -> dict[str, Any]:
        results = self._results()
        honest = [self.chain.purses[address] for address in (CHECKER, PROPOSER)]
        diaries = [self.operators[address].diary for address in (CHECKER, PROPOSER)]
        hostile = [self.chain.purses[address] for address in (*self.attacker_accounts, IDLE_LIAR, BRIBER)]
        now_s = self.env.now
        games = len(results)
        longest_s = max((result.delay_s for result in results), default=0.0)
        honest_net = sum(purse.net_wei for purse in honest) / ETHER
        attacker_cost = -sum(purse.net_wei for purse in hostile) / ETHER
        return {
            "seed": self.seed,
            "games": games,
            "truth_won": sum(result.honest_won for result in results),
            "unfinished": sum(result.status == GameStatus.IN_PROGRESS for result in results),
            "false_proposals": sum(not result.proposal_is_true for result in results),
            "false_disputes": sum(result.proposal_is_true and result.disputed for result in results),
            "claims": sum(result.claims for result in results),
            "delay_h": sum(result.delay_s for result in results) / HOUR_S / max(1, games),
            "worst_delay_h": longest_s / HOUR_S,
            "days": now_s / 86_400,
            "honest_net_eth": honest_net,
            "honest_gas_eth": sum(purse.gas_wei for purse in honest) / ETHER,
            "honest_peak_eth": sum(purse.peak_locked_wei for purse in honest) / ETHER,
            "honest_eth_days": sum(purse.locked_ether_days(now_s) for purse in honest),
            "honest_transactions": sum(purse.transactions for purse in honest),
            "honest_refused": sum(purse.refused for purse in honest),
            "attacker_cost_eth": attacker_cost,
            "attacker_peak_eth": sum(purse.peak_locked_wei for purse in hostile) / ETHER,
            "attacker_transactions": sum(purse.transactions for purse in hostile),
            "bribes_eth": self.chain.purses[BRIBER].bribes_wei / ETHER,
            "burnt_eth": sum(table.referee.money.burnt_wei for table in self.chain.tables.values()) / ETHER,
            "missed": sum(diary.missed for diary in diaries),
            "starved": sum(diary.starved for diary in diaries),
            "blind": sum(diary.blind for diary in diaries),
            "unchecked": sum(diary.unchecked for diary in diaries),
            "inferences": sum(diary.inferences for diary in diaries),
            "vm_runs": sum(diary.vm_runs for diary in diaries),
            "core_h": sum(operator.cores.busy_s for operator in self.operators.values()) / HOUR_S,
            "core_wait_h": sum(operator.cores.waited_s for operator in self.operators.values()) / HOUR_S,
            "reorgs": self.chain.reorgs,
            "bribed_blocks": self.chain.bribed_blocks,
        }
