// A long run: trees, maps, sorting, strings, hashing and goroutines, with much garbage; for scripts/long-run.
//
// ../README.md says what the go:debug lines are for.

//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0
//go:debug decoratemappings=0
package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
)

type node struct {
	left, right *node
	key         int
}

func (n *node) insert(key int) *node {
	if n == nil {
		return &node{key: key}
	}
	if key < n.key {
		n.left = n.left.insert(key)
	} else {
		n.right = n.right.insert(key)
	}
	return n
}

func (n *node) sum() int {
	if n == nil {
		return 0
	}
	return n.left.sum() + n.key + n.right.sum()
}

func work(seed int) uint64 {
	x := uint64(seed)*2654435761 + 12345
	var root *node
	m := map[string]int{}
	values := []int{}
	for i := 0; i < 3000; i++ {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		root = root.insert(int(x % 100000))
		m["k"+strconv.Itoa(int(x%5000))] += i
		values = append(values, int(x%1000003))
	}
	sort.Ints(values)
	var b strings.Builder
	for i, v := range values {
		if i%7 == 0 {
			fmt.Fprintf(&b, "%d,", v)
		}
	}
	sum := sha256.Sum256([]byte(b.String()))
	return x + uint64(root.sum()) + uint64(len(m)) + uint64(sum[0])<<8
}

// How much to do, some 46 million steps each: set by the linker.
var rounds = "2"

func main() {
	count, err := strconv.Atoi(rounds)
	if err != nil {
		panic(err)
	}
	var total uint64
	for r := 0; r < count; r++ {
		var group sync.WaitGroup
		results := make([]uint64, 4)
		for g := range results {
			group.Add(1)
			go func() {
				defer group.Done()
				results[g] = work(r*4 + g)
			}()
		}
		group.Wait()
		for _, v := range results {
			total = total*31 + v
		}
	}
	fmt.Println("total", total)
	os.Exit(int(total & 63))
}
