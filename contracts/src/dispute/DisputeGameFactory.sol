// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {LibCWIA} from "solady/utils/legacy/LibCWIA.sol";
import {Claim} from "./Claim.sol";
import {GameAlreadyExists, IncorrectBondAmount, NoImplementation} from "./Errors.sol";
import {GameId, newGameId} from "./GameId.sol";
import {Timestamp, currentTimestamp} from "./Time.sol";
import {IDisputeGame} from "./interfaces/IDisputeGame.sol";
import {IDisputeGameFactory} from "./interfaces/IDisputeGameFactory.sol";

/// @title DisputeGameFactory
/// @notice See IDisputeGameFactory. A game is a clone of its type's implementation, with its arguments in its code.
contract DisputeGameFactory is Ownable, IDisputeGameFactory {
    mapping(uint32 gameType => IDisputeGame) public gameImpls;
    mapping(uint32 gameType => uint256) public initBonds;
    mapping(uint32 gameType => bytes) public gameArgs;

    mapping(bytes32 uuid => GameId) internal gameIdOf;
    GameId[] internal gameList;

    constructor(address owner_) Ownable(owner_) {}

    function create(uint32 gameType, Claim rootClaim, bytes calldata extraData)
        external
        payable
        returns (IDisputeGame proxy)
    {
        IDisputeGame impl = gameImpls[gameType];
        if (address(impl) == address(0)) revert NoImplementation(gameType);
        if (msg.value != initBonds[gameType]) revert IncorrectBondAmount();
        bytes32 uuid = getGameUUID(gameType, rootClaim, extraData);
        if (GameId.unwrap(gameIdOf[uuid]) != bytes32(0)) revert GameAlreadyExists(uuid);

        bytes memory args = _cloneArguments(gameType, rootClaim, extraData);
        proxy = IDisputeGame(LibCWIA.cloneDeterministic(address(impl), args, uuid));

        // Before the game runs, so that nothing it calls can make the same game again.
        GameId id = newGameId(gameType, currentTimestamp(), address(proxy));
        gameIdOf[uuid] = id;
        gameList.push(id);
        proxy.initialize{value: msg.value}();
        emit DisputeGameCreated(address(proxy), gameType, rootClaim);
    }

    /// @dev Creator, root claim and L1 head; then, if the type has arguments, the type, the extra data and they; else, as
    ///      games without type arguments expect it, the extra data alone.
    function _cloneArguments(uint32 gameType, Claim rootClaim, bytes calldata extraData)
        internal
        view
        returns (bytes memory)
    {
        bytes32 l1Head = blockhash(block.number - 1);
        bytes memory typeArgs = gameArgs[gameType];
        return typeArgs.length == 0
            ? abi.encodePacked(msg.sender, rootClaim, l1Head, extraData)
            : abi.encodePacked(msg.sender, rootClaim, l1Head, gameType, extraData, typeArgs);
    }

    function games(uint32 gameType, Claim rootClaim, bytes calldata extraData)
        external
        view
        returns (IDisputeGame proxy, Timestamp timestamp)
    {
        GameId id = gameIdOf[getGameUUID(gameType, rootClaim, extraData)];
        return (IDisputeGame(id.proxy()), id.timestamp());
    }

    function gameAtIndex(uint256 index)
        external
        view
        returns (uint32 gameType, Timestamp timestamp, IDisputeGame proxy)
    {
        GameId id = gameList[index];
        return (id.gameType(), id.timestamp(), IDisputeGame(id.proxy()));
    }

    function gameCount() external view returns (uint256) {
        return gameList.length;
    }

    function getGameUUID(uint32 gameType, Claim rootClaim, bytes calldata extraData) public pure returns (bytes32) {
        return keccak256(abi.encode(gameType, rootClaim, extraData));
    }

    function findLatestGames(uint32 gameType, uint256 start, uint256 n)
        external
        view
        returns (GameSearchResult[] memory games_)
    {
        if (start >= gameList.length || n == 0) return games_;

        // Never more than there are; cut to what was found at the end.
        games_ = new GameSearchResult[](n < start + 1 ? n : start + 1);
        uint256 found = 0;
        for (uint256 i = start + 1; i > 0 && found < n; --i) {
            GameId id = gameList[i - 1];
            if (id.gameType() != gameType) continue;
            IDisputeGame game = IDisputeGame(id.proxy());
            games_[found++] = GameSearchResult({
                index: i - 1,
                metadata: GameId.unwrap(id),
                timestamp: id.timestamp(),
                rootClaim: game.rootClaim(),
                extraData: game.extraData()
            });
        }
        assembly ("memory-safe") {
            mstore(games_, found) // found <= the length allocated
        }
    }

    function setImplementation(uint32 gameType, IDisputeGame impl) external onlyOwner {
        gameImpls[gameType] = impl;
        emit ImplementationSet(address(impl), gameType);
    }

    function setImplementation(uint32 gameType, IDisputeGame impl, bytes calldata args) external onlyOwner {
        gameImpls[gameType] = impl;
        emit ImplementationSet(address(impl), gameType);
        gameArgs[gameType] = args;
        emit ImplementationArgsSet(gameType, args);
    }

    function setInitBond(uint32 gameType, uint256 initBond) external onlyOwner {
        initBonds[gameType] = initBond;
        emit InitBondUpdated(gameType, initBond);
    }

    /// @notice The published factory whose interface this one has.
    function version() external pure returns (string memory) {
        return "1.6.1";
    }

    /// @dev The string that existing tools know.
    function _checkOwner() internal view override {
        require(owner() == msg.sender, "Ownable: caller is not the owner");
    }
}
