//go:build ignore

// Writes the transactions that op-challenger sends to a pre-image oracle, as JSON to standard output.
//
// To be run inside a copy of the Go module github.com/ethereum-optimism/optimism, from a folder below op-challenger:
// tests/vectors/README.md says how. Its own functions split pre-images, commit to them, prove, challenge and encode.
package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"math/big"
	"os"

	"github.com/ethereum-optimism/optimism/op-challenger/game/fault/contracts"
	"github.com/ethereum-optimism/optimism/op-challenger/game/fault/types"
	"github.com/ethereum-optimism/optimism/op-challenger/game/keccak/matrix"
	keccak "github.com/ethereum-optimism/optimism/op-challenger/game/keccak/types"
	"github.com/ethereum-optimism/optimism/op-service/sources/batching"
	"github.com/ethereum-optimism/optimism/packages/contracts-bedrock/snapshots"
	"github.com/ethereum/go-ethereum/accounts/abi"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/crypto/kzg4844"
	"github.com/ethereum/go-ethereum/rpc"
)

type proposal struct {
	Name      string   `json:"name"`
	Size      int      `json:"size"`
	Offset    uint32   `json:"offset"`
	Key       string   `json:"key"`
	Wrong     []int    `json:"wrong"`
	Init      string   `json:"init"`
	Leaves    []string `json:"leaves"`
	Squeeze   string   `json:"squeeze"`
	Challenge string   `json:"challenge"`
}

type loading struct {
	Name   string `json:"name"`
	Key    string `json:"key"`
	Offset uint32 `json:"offset"`
	Value  string `json:"value"`
	Data   string `json:"data"`
}

var claimant = common.HexToAddress("0x000000000000000000000000000000000000c1a1")

// No node is asked: the bond is answered here, the rest needs no answer.
type oracleRPC struct{ abi *abi.ABI }

func (o oracleRPC) call(elem *rpc.BatchElem) {
	var out []byte
	arg := elem.Args[0].(map[string]any)
	data := arg["input"]
	raw, err := json.Marshal(data)
	check(err)
	var text string
	check(json.Unmarshal(raw, &text))
	selector := common.FromHex(text)[:4]
	method, err := o.abi.MethodById(selector)
	check(err)
	switch method.Name {
	case "version":
		out, err = method.Outputs.Pack("1.1.5")
	case "MIN_BOND_SIZE":
		out, err = method.Outputs.Pack(big.NewInt(250_000_000_000_000_000))
	default:
		panic(method.Name)
	}
	check(err)
	encoded, err := json.Marshal("0x" + hex.EncodeToString(out))
	check(err)
	check(json.Unmarshal(encoded, elem.Result))
}

func (o oracleRPC) CallContext(_ context.Context, result any, method string, args ...any) error {
	elem := rpc.BatchElem{Method: method, Args: args, Result: result}
	o.call(&elem)
	return nil
}

func (o oracleRPC) BatchCallContext(_ context.Context, b []rpc.BatchElem) error {
	for i := range b {
		o.call(&b[i])
	}
	return nil
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

// The bytes that the tests make as well: Keccak-256 of a counter, again and again.
func content(size int) []byte {
	var data []byte
	for i := uint64(0); len(data) < size; i++ {
		data = append(data, crypto.Keccak256(binary.BigEndian.AppendUint64(nil, i))...)
	}
	return data[:size]
}

func typed(kind byte, digest []byte) []byte {
	key := bytes.Clone(digest)
	key[0] = kind
	return key
}

func hexed(data []byte) string { return "0x" + hex.EncodeToString(data) }

func propose(oracle *contracts.PreimageOracleContractLatest, size int, offset uint32, chunkBlocks int, wrong ...int) proposal {
	data := content(size)
	uuid := new(big.Int).SetBytes(crypto.Keccak256([]byte{byte(size), byte(size >> 8), byte(offset)}))
	init, err := oracle.InitLargePreimage(uuid, offset, uint32(size))
	check(err)
	made := proposal{Size: size, Offset: offset, Init: hexed(init.TxData), Key: hexed(typed(2, crypto.Keccak256(data))), Wrong: wrong}
	state := matrix.NewStateMatrix()
	in := bytes.NewReader(data)
	var all []common.Hash
	for block := 0; ; {
		part, err := state.AbsorbUpTo(in, chunkBlocks*keccak.BlockSize)
		last := errors.Is(err, io.EOF)
		if !last {
			check(err)
		}
		for _, index := range wrong {
			if index >= block && index < block+len(part.Commitments) {
				part.Commitments[index-block][5] ^= 1
			}
		}
		all = append(all, part.Commitments...)
		tx, err := oracle.AddLeaves(uuid, big.NewInt(int64(block)), part.Input, part.Commitments, part.Finalize)
		check(err)
		made.Leaves = append(made.Leaves, hexed(tx.TxData))
		block += len(part.Commitments)
		if last {
			break
		}
	}
	if len(wrong) == 0 {
		pre, preProof := state.PrestateWithProof()
		post, postProof := state.PoststateWithProof()
		tx, err := oracle.Squeeze(claimant, uuid, state.PrestateMatrix(), pre, preProof, post, postProof)
		check(err)
		made.Squeeze = hexed(tx.TxData)
	} else {
		challenge, err := matrix.Challenge(bytes.NewReader(data), all)
		check(err)
		tx, err := oracle.ChallengeTx(keccak.LargePreimageIdent{Claimant: claimant, UUID: uuid}, challenge)
		check(err)
		made.Challenge = hexed(tx.TxData)
	}
	return made
}

func sized(data []byte) []byte {
	return append(binary.BigEndian.AppendUint64(nil, uint64(len(data))), data...)
}

func load(oracle *contracts.PreimageOracleContractLatest, name string, value []byte, data *types.PreimageOracleData) loading {
	tx, err := oracle.AddGlobalDataTx(data)
	check(err)
	return loading{Name: name, Key: hexed(data.OracleKey), Offset: data.OracleOffset, Value: hexed(value), Data: hexed(tx.TxData)}
}

func main() {
	oracleABI := snapshots.LoadPreimageOracleABI()
	caller := batching.NewMultiCaller(oracleRPC{oracleABI}, 100)
	made, err := contracts.NewPreimageOracleContract(context.Background(), common.HexToAddress("0x0a"), caller)
	check(err)
	oracle := made.(*contracts.PreimageOracleContractLatest)

	var proposals []proposal
	for _, c := range []struct {
		size   int
		offset uint32
		blocks int
	}{{136, 0, 300}, {271, 7, 300}, {271, 270, 1}, {272, 8, 1}, {1000, 40, 3}, {1000, 1007, 2}, {6000, 5990, 40}, {13600, 4000, 33}} {
		proposals = append(proposals, propose(oracle, c.size, c.offset, c.blocks))
	}
	for _, wrong := range [][]int{{0}, {1}, {7}, {3, 4}, {0, 5}} {
		proposals = append(proposals, propose(oracle, 1000, 16, 3, wrong...))
	}

	var loadings []loading
	data := content(333)
	loadings = append(loadings, load(oracle, "keccak256", data, types.NewPreimageOracleData(typed(2, crypto.Keccak256(data)), sized(data), 123)))
	loadings = append(loadings, load(oracle, "sha256", data, types.NewPreimageOracleData(typed(4, digestOf(data)), sized(data), 40)))

	var blob kzg4844.Blob
	for i := 0; i < len(blob); i += 32 {
		copy(blob[i+1:i+32], crypto.Keccak256(binary.BigEndian.AppendUint64(nil, uint64(i)))[:31])
	}
	commitment, err := kzg4844.BlobToCommitment(&blob)
	check(err)
	var point kzg4844.Point
	copy(point[1:], crypto.Keccak256([]byte("point"))[:31])
	proof, claim, err := kzg4844.ComputeProof(&blob, point)
	check(err)
	blobKey := typed(5, crypto.Keccak256(append(bytes.Clone(commitment[:]), point[:]...)))
	for _, offset := range []uint32{0, 5, 8, 30, 39} {
		loadings = append(loadings, load(oracle, "blob", claim[:], types.NewPreimageOracleBlobData(blobKey, sized(claim[:]), offset, point, commitment[:], proof[:])))
	}

	private, err := crypto.ToECDSA(crypto.Keccak256([]byte("a key for a test")))
	check(err)
	digest := crypto.Keccak256([]byte("message"))
	signature, err := crypto.Sign(digest, private)
	check(err)
	input := append(append(bytes.Clone(digest), common.LeftPadBytes([]byte{signature[64] + 27}, 32)...), signature[:64]...)
	signer := append([]byte{1}, common.LeftPadBytes(crypto.PubkeyToAddress(private.PublicKey).Bytes(), 32)...)
	calls := []struct {
		name       string
		precompile byte
		gas        uint64
		input      []byte
		result     []byte
	}{
		{"ecrecover", 1, 3000, input, signer},
		{"ecrecover of nothing", 1, 3000, make([]byte, 128), []byte{1}},
		{"identity", 4, 15 + 3*11, data, append([]byte{1}, data...)},
		{"bn256Pairing of nothing", 8, 45000, nil, append([]byte{1}, common.LeftPadBytes([]byte{1}, 32)...)},
		{"bn256Add of no point", 6, 150, bytes.Repeat([]byte{1}, 128), []byte{0}},
	}
	for _, c := range calls {
		packed := append(common.LeftPadBytes([]byte{c.precompile}, 20), binary.BigEndian.AppendUint64(nil, c.gas)...)
		packed = append(packed, c.input...)
		key := typed(6, crypto.Keccak256(packed))
		for _, offset := range []uint32{0, 8, uint32(len(c.result)) + 7} {
			loadings = append(loadings, load(oracle, c.name, c.result, types.NewPreimageOracleData(key, sized(packed), offset)))
		}
	}
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetIndent("", " ")
	check(encoder.Encode(map[string]any{"claimant": claimant, "proposals": proposals, "loadings": loadings}))
}

func digestOf(data []byte) []byte {
	digest := sha256.Sum256(data)
	return digest[:]
}
