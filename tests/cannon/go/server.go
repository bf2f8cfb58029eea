// A pre-image server, written from docs/op-stack.md alone: server LOG FOLDER.
//
// FOLDER holds a file for each pre-image, named by its key in hexadecimal. What is not local is given out only after its
// hint has come: "h" and the key; each hint is written to LOG. ../preimage_server.py is the same program.
package main

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
)

const localKey = 1

type hints struct {
	sync.Mutex
	taken map[string]bool
	log   *os.File
}

func (h *hints) serve(from io.Reader, to io.Writer) error {
	for {
		var size uint32
		if err := binary.Read(from, binary.BigEndian, &size); err != nil {
			return err
		}
		hint := make([]byte, size)
		if _, err := io.ReadFull(from, hint); err != nil {
			return err
		}
		if _, err := fmt.Fprintln(h.log, hex.EncodeToString(hint)); err != nil {
			return err
		}
		if size > 0 {
			h.Lock()
			h.taken[string(hint[1:])] = true
			h.Unlock()
		}
		if _, err := to.Write([]byte{0}); err != nil {
			return err
		}
	}
}

func (h *hints) has(key []byte) bool {
	h.Lock()
	defer h.Unlock()
	return h.taken[string(key)]
}

func servePreimages(folder string, known *hints, from io.Reader, to io.Writer) error {
	key := make([]byte, 32)
	for {
		if _, err := io.ReadFull(from, key); err != nil {
			return err
		}
		name := hex.EncodeToString(key)
		if key[0] != localKey && !known.has(key) {
			return fmt.Errorf("no hint came for %s", name)
		}
		data, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			return err
		}
		answer := binary.BigEndian.AppendUint64(nil, uint64(len(data)))
		if _, err := to.Write(append(answer, data...)); err != nil {
			return err
		}
	}
}

func run(log, folder string) error {
	file, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer file.Close()
	known := &hints{taken: map[string]bool{}, log: file}
	ended := make(chan error, 2)
	go func() { ended <- known.serve(os.NewFile(3, "hints"), os.NewFile(4, "acknowledgements")) }()
	go func() { ended <- servePreimages(folder, known, os.NewFile(5, "keys"), os.NewFile(6, "pre-images")) }()
	err = <-ended
	if errors.Is(err, io.EOF) {
		return nil // the client has closed its ends
	}
	return err
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: server LOG FOLDER")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
