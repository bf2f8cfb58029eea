// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {GameFixture} from "./helpers/GameFixture.sol";
import {GameAlreadyExists, IncorrectBondAmount, NoImplementation} from "../../src/dispute/Errors.sol";
import {FaultDisputeGame} from "../../src/dispute/FaultDisputeGame.sol";
import {GameId, newGameId} from "../../src/dispute/GameId.sol";
import {IDisputeGame} from "../../src/dispute/interfaces/IDisputeGame.sol";
import {IDisputeGameFactory} from "../../src/dispute/interfaces/IDisputeGameFactory.sol";
import {Timestamp} from "../../src/dispute/Time.sol";
import {Claim} from "../../src/dispute/Claim.sol";

/// @notice A game that wants no type arguments: answers its own calldata.
contract LegacyGame {
    bytes public argumentsSeen;

    function initialize() external payable {
        argumentsSeen = msg.data[4:];
    }
}

/// @notice Making games, and finding them.
contract DisputeGameFactoryTest is GameFixture {
    event ReceiveETH(uint256 amount);

    // ---------------------------------------------------------------- create

    function test_create_errorsInOrder() public {
        propose(lie(0));
        vm.expectRevert(abi.encodeWithSelector(NoImplementation.selector, 7));
        factory.create{value: 1 wei}(7, lie(0), abi.encode(REQUEST));
        vm.expectRevert(IncorrectBondAmount.selector);
        factory.create{value: INIT_BOND - 1}(CANNON, lie(0), abi.encode(REQUEST));
        vm.expectRevert(IncorrectBondAmount.selector);
        factory.create{value: INIT_BOND + 1}(CANNON, lie(0), abi.encode(REQUEST));
        bytes32 uuid = factory.getGameUUID(CANNON, lie(0), abi.encode(REQUEST));
        vm.expectRevert(abi.encodeWithSelector(GameAlreadyExists.selector, uuid));
        factory.create{value: INIT_BOND}(CANNON, lie(0), abi.encode(REQUEST));
    }

    function test_create_keepsBooks() public {
        uint256 before = vm.snapshotState();
        address expected = address(propose(lie(0)));
        vm.revertToState(before);
        vm.expectEmit(address(factory));
        emit IDisputeGameFactory.DisputeGameCreated(expected, CANNON, lie(0));
        propose(lie(0));

        vm.assertEq(factory.gameCount(), 1);
        (uint32 gameType, Timestamp timestamp, IDisputeGame proxy) = factory.gameAtIndex(0);
        vm.assertEq(gameType, CANNON);
        vm.assertEq(timestamp.raw(), block.timestamp);
        vm.assertEq(address(proxy), address(game));
        (proxy, timestamp) = factory.games(CANNON, lie(0), abi.encode(REQUEST));
        vm.assertEq(address(proxy), address(game));
        vm.assertEq(timestamp.raw(), block.timestamp);
        (proxy, timestamp) = factory.games(CANNON, lie(1), abi.encode(REQUEST));
        vm.assertEq(address(proxy), address(0));
        vm.assertEq(timestamp.raw(), 0);
        vm.expectRevert(abi.encodeWithSignature("Panic(uint256)", 0x32));
        factory.gameAtIndex(1);
    }

    function test_create_competingProposalsLiveSideBySide() public {
        propose(lie(0));
        FaultDisputeGame first = game;
        propose(lie(1));
        vm.assertNotEq(address(first), address(game));
        vm.assertEq(factory.gameCount(), 2);
    }

    function test_getGameUUID_vector() public view {
        vm.assertEq(
            factory.getGameUUID(
                0,
                Claim.wrap(0x1111111111111111111111111111111111111111111111111111111111111111),
                abi.encode(uint256(116))
            ),
            0xa405afeb8065b5c4d75ef199e46f80821f2c96aa0c6655fcc77c0a422507b174
        );
    }

    function test_gameId_vector() public pure {
        GameId id = newGameId(8, Timestamp.wrap(1_700_000_000), 0xc0ffee254729296a45a3885639AC7E10F9d54979);
        vm.assertEq(GameId.unwrap(id), 0x00000008000000006553f100c0ffee254729296a45a3885639ac7e10f9d54979);
        vm.assertEq(id.gameType(), 8);
        vm.assertEq(id.timestamp().raw(), 1_700_000_000);
        vm.assertEq(id.proxy(), 0xc0ffee254729296a45a3885639AC7E10F9d54979);
    }

    // ---------------------------------------------------------------- clones

    function test_clone_layout() public {
        propose(lie(0));
        bytes memory code = address(game).code;
        vm.assertEq(code.length, 98 + 244 + 2);
        vm.assertEq(uint8(code[342]), 0x00);
        vm.assertEq(uint8(code[343]), 0xf6);
        bytes memory expected =
            abi.encodePacked(PROPOSER, lie(0), blockhash(block.number - 1), CANNON, REQUEST, gameArgs());
        for (uint256 i = 0; i < 244; ++i) {
            vm.assertEq(uint8(code[98 + i]), uint8(expected[i]));
        }
        vm.assertEq(factory.gameArgs(CANNON).length, 124);
    }

    /// @notice Money comes in by itself, with a transfer's gas, and leaves a log.
    function test_clone_takesEther() public {
        propose(lie(0));
        vm.expectEmit(address(game));
        emit ReceiveETH(5);
        (bool success,) = address(game).call{value: 5, gas: 2300}("");
        vm.assertTrue(success);
    }

    function test_clone_withoutTypeArguments() public {
        LegacyGame legacy = new LegacyGame();
        vm.prank(OWNER);
        factory.setImplementation(3, IDisputeGame(address(legacy)));
        IDisputeGame made = factory.create(3, lie(0), hex"abcdef");
        vm.assertEq(
            LegacyGame(address(made)).argumentsSeen(),
            abi.encodePacked(
                address(this), lie(0), blockhash(block.number - 1), hex"abcdef", uint16(20 + 32 + 32 + 3 + 2)
            )
        );
    }

    // ---------------------------------------------------------------- owner

    function test_setImplementation_withAndWithoutArguments() public {
        vm.startPrank(OWNER);
        vm.expectEmit(address(factory));
        emit IDisputeGameFactory.ImplementationSet(address(1), CANNON);
        factory.setImplementation(CANNON, IDisputeGame(address(1)));
        vm.assertEq(address(factory.gameImpls(CANNON)), address(1));
        vm.assertEq(factory.gameArgs(CANNON), gameArgs()); // kept
        vm.expectEmit(address(factory));
        emit IDisputeGameFactory.ImplementationSet(address(2), CANNON);
        vm.expectEmit(address(factory));
        emit IDisputeGameFactory.ImplementationArgsSet(CANNON, "args");
        factory.setImplementation(CANNON, IDisputeGame(address(2)), "args");
        vm.assertEq(address(factory.gameImpls(CANNON)), address(2));
        vm.assertEq(factory.gameArgs(CANNON), "args");
    }

    function test_setInitBond() public {
        vm.prank(OWNER);
        vm.expectEmit(address(factory));
        emit IDisputeGameFactory.InitBondUpdated(CANNON, 1 ether);
        factory.setInitBond(CANNON, 1 ether);
        vm.assertEq(factory.initBonds(CANNON), 1 ether);
    }

    function test_ownerOnly() public {
        bytes memory reason = "Ownable: caller is not the owner";
        vm.expectRevert(reason);
        factory.setImplementation(CANNON, implementation);
        vm.expectRevert(reason);
        factory.setImplementation(CANNON, implementation, "");
        vm.expectRevert(reason);
        factory.setInitBond(CANNON, 1);
        vm.expectRevert(reason);
        factory.transferOwnership(address(this));
        vm.expectRevert(reason);
        factory.renounceOwnership();
        vm.prank(OWNER);
        factory.transferOwnership(address(this));
        vm.assertEq(factory.owner(), address(this));
        factory.setInitBond(CANNON, 1);
    }

    // ---------------------------------------------------------------- findLatestGames

    function test_findLatestGames() public {
        vm.startPrank(OWNER);
        factory.setImplementation(255, implementation, gameArgs());
        vm.stopPrank();
        for (uint256 i = 0; i < 6; ++i) {
            uint32 gameType = i % 2 == 0 ? CANNON : 255;
            factory.create{value: i % 2 == 0 ? INIT_BOND : 0}(gameType, lie(i), abi.encode(REQUEST));
        }
        vm.assertEq(factory.findLatestGames(CANNON, 6, 10).length, 0); // start is no game's index
        vm.assertEq(factory.findLatestGames(CANNON, 5, 0).length, 0);
        vm.assertEq(factory.findLatestGames(7, 5, 10).length, 0);
        IDisputeGameFactory.GameSearchResult[] memory found = factory.findLatestGames(CANNON, 3, 10);
        vm.assertEq(found.length, 2);
        vm.assertEq(found[0].index, 2);
        vm.assertEq(found[1].index, 0);
        found = factory.findLatestGames(CANNON, 0, 10); // all there are before it
        vm.assertEq(found.length, 1);
        vm.assertEq(found[0].index, 0);
        found = factory.findLatestGames(CANNON, 3, 1);
        vm.assertEq(found.length, 1);
        vm.assertEq(found[0].index, 2);
        found = factory.findLatestGames(255, 5, 2);
        vm.assertEq(found.length, 2);
        vm.assertEq(found[0].index, 5);
        vm.assertEq(found[1].index, 3);
        vm.assertEq(found[1].rootClaim.raw(), lie(3).raw());
        vm.assertEq(found[1].extraData, abi.encode(REQUEST));
        vm.assertEq(found[1].timestamp.raw(), block.timestamp);
        (,, IDisputeGame third) = factory.gameAtIndex(3);
        vm.assertEq(
            found[1].metadata, GameId.unwrap(newGameId(255, Timestamp.wrap(uint64(block.timestamp)), address(third)))
        );
    }
}
