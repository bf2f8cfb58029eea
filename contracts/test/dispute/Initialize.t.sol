// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {GameFixture} from "./helpers/GameFixture.sol";
import {AlphabetOracle, AlphabetVm} from "./helpers/AlphabetVm.sol";
import "../../src/dispute/Errors.sol";
import {FaultDisputeGame} from "../../src/dispute/FaultDisputeGame.sol";
import {BondTerms, BURN_ADDRESS} from "../../src/dispute/Bond.sol";
import {ClaimData} from "./helpers/ClaimData.sol";
import {BondDistributionMode, GameLimits, GameStatus} from "../../src/dispute/Types.sol";
import {IFaultDisputeGame} from "../../src/dispute/interfaces/IFaultDisputeGame.sol";
import {Clock, newClock} from "../../src/dispute/Clock.sol";
import {Position} from "../../src/dispute/Position.sol";
import {Claim} from "../../src/dispute/Claim.sol";
import {StateRoot} from "../../src/dispute/StateRoot.sol";
import {Duration, Timestamp} from "../../src/dispute/Time.sol";

/// @notice Making the implementation, and making a game.
contract InitializeTest is GameFixture {
    // ---------------------------------------------------------------- constructor

    function make(uint256 maxDepth, uint256 split, uint64 extension, uint64 clock) internal returns (FaultDisputeGame) {
        return
            new FaultDisputeGame(GameLimits(maxDepth, split, Duration.wrap(extension), Duration.wrap(clock)), terms());
    }

    function test_constructor_takesTheLimits() public {
        FaultDisputeGame made = make(90, 88, CLOCK / 2, CLOCK);
        vm.assertEq(made.clockExtension().raw(), CLOCK / 2);
        vm.assertEq(made.maxClockDuration().raw(), CLOCK);
    }

    function test_constructor_errorsInOrder() public {
        vm.expectRevert(MaxDepthTooLarge.selector); // all are wrong
        make(91, 1, CLOCK, CLOCK);
        vm.expectRevert(InvalidSplitDepth.selector);
        make(90, type(uint256).max, CLOCK, CLOCK);
        vm.expectRevert(InvalidSplitDepth.selector);
        make(90, 89, CLOCK, CLOCK);
        vm.expectRevert(InvalidSplitDepth.selector);
        make(90, 1, CLOCK, CLOCK);
        vm.expectRevert(InvalidClockExtension.selector);
        make(90, 2, CLOCK / 2 + 1, CLOCK);
        vm.expectRevert(InvalidClockExtension.selector);
        make(90, 2, type(uint64).max / 2 + 1, type(uint64).max);
    }

    function expectBadTerms(uint64 gasAtRoot, uint64 gasAtMaxDepth, uint16 bps, address to) internal {
        vm.expectRevert(InvalidBondTerms.selector);
        new FaultDisputeGame(limits(), BondTerms(1 gwei, gasAtRoot, gasAtMaxDepth, bps, to, false));
    }

    function test_constructor_refusesBadTerms() public {
        expectBadTerms(0, 1, 0, BURN_ADDRESS);
        expectBadTerms(2, 1, 0, BURN_ADDRESS);
        expectBadTerms(1, 1, 5_001, BURN_ADDRESS);
        expectBadTerms(1, 1, 0, address(0));
        BondTerms memory chosen = BondTerms(0, 1, type(uint64).max, 5_000, OWNER, true);
        FaultDisputeGame made = new FaultDisputeGame(limits(), chosen);
        vm.assertEq(abi.encode(made.bondTerms()), abi.encode(chosen));
    }

    // ---------------------------------------------------------------- initialize

    function test_initialize_recordsEverything() public {
        registry.setRespectedGameType(CANNON);
        registry.setRecords();
        propose(lie(0));
        vm.assertEq(game.createdAt().raw(), block.timestamp);
        vm.assertEq(game.resolvedAt().raw(), 0);
        vm.assertTrue(game.status() == GameStatus.IN_PROGRESS);
        vm.assertTrue(game.bondDistributionMode() == BondDistributionMode.UNDECIDED);
        vm.assertTrue(game.wasRespectedGameTypeWhenCreated());
        vm.assertEq(game.gameCreator(), PROPOSER);
        vm.assertEq(game.rootClaim().raw(), lie(0).raw());
        vm.assertEq(game.l1Head(), blockhash(block.number - 1));
        vm.assertEq(game.gameType(), CANNON);
        vm.assertEq(game.requestId().raw(), REQUEST.raw());
        vm.assertEq(game.extraData(), abi.encode(REQUEST));
        vm.assertEq(game.absolutePrestate().raw(), prestate.raw());
        vm.assertEq(address(game.vm()), address(alphabet));
        vm.assertEq(address(game.anchorStateRegistry()), address(registry));
        vm.assertEq(address(game.weth()), address(weth));
        vm.assertEq(game.l2ChainId(), CHAIN_ID);
        vm.assertEq(game.nodeCount(), NODES);
        vm.assertEq(game.l2BlockNumber(), NODES);
        vm.assertEq(game.l2SequenceNumber(), NODES);
        vm.assertEq(game.startingBlockNumber(), 0);
        vm.assertEq(game.startingSequenceNumber(), 0);
        vm.assertEq(game.startingRootHash().raw(), alphabet.truth(0).raw());
        (StateRoot root, uint256 number) = game.startingOutputRoot();
        vm.assertEq(root.raw(), alphabet.truth(0).raw());
        vm.assertEq(number, 0);
        vm.assertEq(game.splitDepth(), S);
        vm.assertEq(game.maxGameDepth(), D);
        vm.assertEq(game.maxClockDuration().raw(), CLOCK);
        vm.assertEq(game.clockExtension().raw(), EXTENSION);
        vm.assertFalse(game.l2BlockNumberChallenged());
        vm.assertEq(game.l2BlockNumberChallenger(), address(0));
        vm.assertEq(game.rootClaimByChainId(CHAIN_ID).raw(), lie(0).raw());
        (uint32 gameType, Claim rootClaim, bytes memory extraData) = game.gameData();
        vm.assertEq(gameType, CANNON);
        vm.assertEq(rootClaim.raw(), lie(0).raw());
        vm.assertEq(extraData, abi.encode(REQUEST));

        vm.assertEq(game.claimDataLen(), 1);
        ClaimData memory root_ = claimAt(0);
        vm.assertEq(root_.parentIndex, type(uint32).max);
        vm.assertEq(root_.counteredBy, address(0));
        vm.assertEq(root_.claimant, PROPOSER);
        vm.assertEq(root_.bond, INIT_BOND);
        vm.assertEq(root_.claim.raw(), lie(0).raw());
        vm.assertEq(root_.position.raw(), 1);
        vm.assertEq(Clock.unwrap(root_.clock), block.timestamp);
        vm.assertEq(game.refundModeCredit(PROPOSER), INIT_BOND);
        vm.assertEq(game.normalModeCredit(PROPOSER), 0);
        vm.assertEq(address(game).balance, INIT_BOND);
        vm.assertEq(weth.balanceOf(address(game)), 0);
        vm.assertEq(game.proposalNonce(), 0);
        vm.assertEq(registry.recorded(), keccak256(abi.encode(game, CANNON, lie(0), abi.encode(REQUEST), PROPOSER)));
    }

    /// @notice The same root claim for the same request, with a nonce: another game, whose arguments are all in place.
    function testFuzz_initialize_withANonce(bytes32 nonce) public {
        vm.assume(nonce != 0);
        registry.setRecords();
        FaultDisputeGame first = propose(lie(0));
        bytes memory extraData = abi.encode(REQUEST, nonce);
        vm.prank(PROPOSER);
        game = FaultDisputeGame(payable(address(factory.create{value: INIT_BOND}(CANNON, lie(0), extraData))));
        vm.assertNotEq(address(game), address(first));
        vm.assertEq(game.requestId().raw(), REQUEST.raw());
        vm.assertEq(game.proposalNonce(), nonce);
        vm.assertEq(game.extraData(), extraData);
        vm.assertEq(game.gameCreator(), PROPOSER);
        vm.assertEq(game.rootClaim().raw(), lie(0).raw());
        vm.assertEq(game.l1Head(), blockhash(block.number - 1));
        vm.assertEq(game.gameType(), CANNON);
        vm.assertEq(game.absolutePrestate().raw(), prestate.raw());
        vm.assertEq(address(game.vm()), address(alphabet));
        vm.assertEq(address(game.anchorStateRegistry()), address(registry));
        vm.assertEq(address(game.weth()), address(weth));
        vm.assertEq(game.l2ChainId(), CHAIN_ID);
        (,, bytes memory told) = game.gameData();
        vm.assertEq(told, extraData);
        vm.assertEq(registry.recorded(), keccak256(abi.encode(game, CANNON, lie(0), extraData, PROPOSER)));
        vm.expectRevert(
            abi.encodeWithSelector(GameAlreadyExists.selector, factory.getGameUUID(CANNON, lie(0), extraData))
        );
        factory.create{value: INIT_BOND}(CANNON, lie(0), extraData);
    }

    /// @notice A type whose arguments are 32 bytes too long or too short does not turn a nonce into one of its arguments.
    function test_initialize_aNonceIsNoTypeArgument() public {
        vm.prank(OWNER);
        factory.setImplementation(CANNON, implementation, bytes.concat(gameArgs(), bytes32(uint256(1))));
        vm.expectRevert(BadExtraData.selector);
        factory.create{value: INIT_BOND}(CANNON, lie(0), abi.encode(REQUEST, bytes32(uint256(1))));
    }

    function test_initialize_tellsTheLogs() public {
        vm.expectEmit(true, true, true, true, expectedGame(lie(0)));
        emit IFaultDisputeGame.Proposed(REQUEST, lie(0), PROPOSER, NODES, S, D);
        vm.expectEmit(true, true, true, true, expectedGame(lie(0)));
        emit IFaultDisputeGame.ClaimAdded(
            0,
            type(uint32).max,
            PROPOSER,
            lie(0),
            Position.wrap(1),
            uint128(INIT_BOND),
            newClock(Duration.wrap(0), Timestamp.wrap(uint64(block.timestamp)))
        );
        propose(lie(0));
    }

    /// @dev Where the next game will be: made, and undone.
    function expectedGame(Claim rootClaim) internal returns (address made) {
        uint256 before = vm.snapshotState();
        made = address(propose(rootClaim));
        vm.revertToState(before);
    }

    function test_initialize_notesThatItsTypeDoesNotCount() public {
        registry.setRespectedGameType(1);
        propose(lie(0));
        vm.assertFalse(game.wasRespectedGameTypeWhenCreated());
    }

    function test_initialize_onlyOnce() public {
        propose(lie(0));
        vm.expectRevert(AlreadyInitialized.selector);
        game.initialize();
    }

    function test_initialize_notWithoutAClone() public {
        vm.expectRevert(BadExtraData.selector);
        implementation.initialize();
    }

    function test_initialize_pinsTheExtraData() public {
        for (uint256 length = 0; length <= 129; ++length) {
            if (length == 32) continue; // the request id alone; with 64 bytes of zeros the nonce is 0, which has this form
            vm.expectRevert(BadExtraData.selector);
            factory.create{value: INIT_BOND}(CANNON, lie(0), new bytes(length));
        }
    }

    function test_initialize_pinsTheTypeArguments() public {
        vm.prank(OWNER);
        factory.setImplementation(CANNON, implementation, abi.encodePacked(gameArgs(), hex"00"));
        vm.expectRevert(BadExtraData.selector);
        factory.create{value: INIT_BOND}(CANNON, lie(0), abi.encode(REQUEST));
    }

    function expectNoGame(bytes memory error_) internal {
        vm.expectRevert(error_);
        factory.create{value: INIT_BOND}(CANNON, lie(0), abi.encode(REQUEST));
    }

    function expectNoGame(bytes4 selector) internal {
        expectNoGame(abi.encodePacked(selector));
    }

    function test_initialize_parameterErrorsInOrder() public {
        registry.setParameters(StateRoot.wrap(0), 0, 1, 92);
        expectNoGame(AnchorRootNotFound.selector);
        registry.setParameters(StateRoot.wrap("S_0"), 0, 1, 92);
        expectNoGame(abi.encodeWithSelector(UnexpectedRootClaim.selector, lie(0)));
        registry.setParameters(StateRoot.wrap("S_0"), 5, 1, 92);
        expectNoGame(MaxDepthTooLarge.selector);
        registry.setParameters(StateRoot.wrap("S_0"), 5, 1, 89);
        expectNoGame(abi.encodeWithSelector(OddMaxDepth.selector, 89));
        registry.setParameters(StateRoot.wrap("S_0"), 5, 1, 90);
        expectNoGame(InvalidSplitDepth.selector);
        registry.setParameters(StateRoot.wrap("S_0"), 5, 65, 90); // above the limit
        expectNoGame(InvalidSplitDepth.selector);
        registry.setParameters(StateRoot.wrap("S_0"), 5, 3, 4);
        expectNoGame(InvalidSplitDepth.selector);
        registry.setParameters(StateRoot.wrap("S_0"), 5, 2, 90); // five nodes do not fit four leaves
        expectNoGame(InvalidSplitDepth.selector);
        registry.setParameters(StateRoot.wrap("S_0"), 4, 2, 4);
        propose(lie(0));
    }

    function useChallengePeriod(uint256 period) internal {
        alphabet = new AlphabetVm(new AlphabetOracle(period), 6);
        vm.prank(OWNER);
        factory.setImplementation(CANNON, implementation, gameArgs());
    }

    function test_initialize_checksTheOraclesChallengePeriod() public {
        useChallengePeriod(uint256(type(uint64).max) + 1);
        expectNoGame(InvalidChallengePeriod.selector);
        useChallengePeriod(type(uint64).max);
        expectNoGame(InvalidClockExtension.selector);
        useChallengePeriod(CLOCK - EXTENSION + 1);
        expectNoGame(InvalidClockExtension.selector);
        useChallengePeriod(CLOCK - EXTENSION);
        propose(lie(0));
    }

    function test_rootClaimByChainId_knowsOneChain() public {
        propose(lie(0));
        vm.expectRevert(UnknownChainId.selector);
        game.rootClaimByChainId(CHAIN_ID + 1);
    }

    /// @notice A later change of the registry's answer does not change a game.
    function test_parameters_areReadOnce() public {
        propose(lie(0));
        registry.setParameters(StateRoot.wrap("other"), 1, 2, 4);
        vm.assertEq(game.startingRootHash().raw(), alphabet.truth(0).raw());
        vm.assertEq(game.nodeCount(), NODES);
        vm.assertEq(game.splitDepth(), S);
        vm.assertEq(game.maxGameDepth(), D);
    }
}
