// A multi-threaded Go program for the VM: several operating-system threads, goroutines, channels, locks, timers and a busy
// garbage collector. What it prints does not depend on the order in which any of them run.

//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0
//go:debug decoratemappings=0
package main

import (
	"errors"
	"math"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const threads = 4

// fold is splitmix64's step, as in program.h.
func fold(digest, value uint64) uint64 {
	z := (digest ^ value) + 0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// pipeline: numbers go through stages of goroutines; stages take turns as channels fill and empty.
func pipeline() uint64 {
	source := make(chan uint64)
	stage := func(in <-chan uint64, buffer int, work func(uint64) uint64) <-chan uint64 {
		out := make(chan uint64, buffer)
		go func() {
			defer close(out)
			for x := range in {
				out <- work(x)
			}
		}()
		return out
	}
	squares := stage(source, 0, func(x uint64) uint64 { return x * x })
	mixed := stage(squares, 7, func(x uint64) uint64 { return fold(x, 1) })
	go func() {
		defer close(source)
		for i := range uint64(200) {
			source <- i
		}
	}()
	digest := uint64(0)
	for x := range mixed {
		digest = fold(digest, x)
	}
	return digest
}

// pinned: threads of the operating system, one goroutine on each, update shared state under a lock and with atomics.
func pinned() uint64 {
	var (
		lock    sync.Mutex
		reads   sync.RWMutex
		counts  = map[string]int{}
		total   atomic.Uint64
		done    sync.WaitGroup
		started = make(chan struct{})
	)
	for worker := range threads {
		done.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			<-started
			for i := range 50 {
				key := "key" + strconv.Itoa((worker*7+i)%11)
				lock.Lock()
				counts[key] += i
				lock.Unlock()
				reads.RLock()
				total.Add(fold(uint64(worker), uint64(i)))
				reads.RUnlock()
				if i%16 == 0 {
					runtime.Gosched()
				}
			}
		})
	}
	close(started)
	reads.Lock()
	total.Add(1)
	reads.Unlock()
	done.Wait()
	keys := make([]string, 0, len(counts))
	for key := range counts { // in random order
		keys = append(keys, key)
	}
	slices.Sort(keys)
	digest := total.Load()
	for _, key := range keys {
		digest = fold(digest, uint64(len(key))<<32+uint64(counts[key]))
	}
	return digest
}

type tree struct {
	left, right *tree
	value       uint64
}

func grow(depth int, seed uint64) *tree {
	if depth == 0 {
		return nil
	}
	return &tree{grow(depth-1, fold(seed, 1)), grow(depth-1, fold(seed, 2)), seed}
}

func (t *tree) digest() uint64 {
	if t == nil {
		return 0
	}
	return fold(fold(t.left.digest(), t.right.digest()), t.value)
}

// garbage: trees are grown and dropped on several goroutines while collections are forced.
func garbage() uint64 {
	digests := make([]uint64, threads)
	var done sync.WaitGroup
	for worker := range threads {
		done.Go(func() {
			kept := grow(7, uint64(worker))
			for round := range 3 {
				digests[worker] = fold(digests[worker], grow(6, uint64(round)).digest())
				if worker == 0 {
					runtime.GC()
				}
			}
			digests[worker] = fold(digests[worker], kept.digest())
		})
	}
	done.Wait()
	digest := uint64(0)
	for _, d := range digests {
		digest = fold(digest, d)
	}
	return digest
}

// waiting: timers, timeouts and select.
func waiting() uint64 {
	never := make(chan uint64)
	answer := make(chan uint64)
	go func() {
		time.Sleep(500 * time.Microsecond)
		answer <- 42
	}()
	digest := uint64(0)
	select {
	case <-never:
		digest = 1
	case <-time.After(200 * time.Microsecond):
		digest = 2
	}
	var once sync.Once
	for range 3 {
		once.Do(func() { digest = fold(digest, 3) })
	}
	return fold(digest, <-answer)
}

var errSunk = errors.New("sunk")

// plain: floating point in software, strings, maps, interfaces, a panic that is caught.
func plain() (digest uint64) {
	sum := 0.0
	for i := 1; i <= 60; i++ {
		// The conversion forbids fusing: every processor rounds here.
		sum += float64(math.Sqrt(float64(i))*sum) / float64(i*i+1)
		sum += 1 / float64(i)
	}
	digest = fold(digest, math.Float64bits(sum))
	digest = fold(digest, uint64(math.Float32bits(float32(sum)*1.25)))
	var text strings.Builder
	for i := range 40 {
		text.WriteString(strconv.FormatFloat(float64(i)/7, 'g', -1, 64))
		text.WriteByte(' ')
	}
	for _, word := range strings.Fields(strings.ToUpper(text.String())) {
		for _, r := range word {
			digest = fold(digest, uint64(r))
		}
	}
	defer func() {
		if err, ok := recover().(error); ok && errors.Is(err, errSunk) {
			digest = fold(digest, 4)
		}
	}()
	panic(errSunk)
}

func main() {
	runtime.GOMAXPROCS(threads)
	parts := []struct {
		name string
		run  func() uint64
	}{{"pipeline", pipeline}, {"pinned", pinned}, {"garbage", garbage}, {"waiting", waiting}, {"plain", plain}}
	digest := uint64(1)
	for _, part := range parts {
		result := part.run()
		digest = fold(digest, result)
		os.Stdout.WriteString(part.name + " " + strconv.FormatUint(result, 16) + "\n")
	}
	os.Exit(int(digest & 63))
}
