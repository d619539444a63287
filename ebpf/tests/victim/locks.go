// Goroutines that rest in each way that is no lock; after a line, others that wait for a mutex. Ends at another line.
package main

import (
	"bufio"
	"fmt"
	"os"
	"sync"
	"time"
)

var (
	stock   sync.Mutex
	shelves sync.RWMutex
)

//go:noinline
func reserve() {
	stock.Lock()
	defer stock.Unlock()
	time.Sleep(80 * time.Millisecond)
}

//go:noinline
func browse() {
	shelves.RLock()
	defer shelves.RUnlock()
}

func rest() {
	var group sync.WaitGroup
	group.Add(1)
	gate := sync.NewCond(&sync.Mutex{})
	nothing := make(chan int)
	for range 4 {
		go group.Wait()
		go func() { <-nothing }()
		go func() {
			gate.L.Lock()
			gate.Wait()
		}()
	}
}

func main() {
	input := bufio.NewReader(os.Stdin)
	rest()
	fmt.Println("resting")
	input.ReadString('\n')
	for range 5 {
		go func() {
			for {
				reserve()
			}
		}()
	}
	shelves.Lock()
	for range 2 {
		go browse()
	}
	input.ReadString('\n')
}
