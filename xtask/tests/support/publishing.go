// A service in Go that publishes its figures as Go services do, and is given a disease by its first argument:
// "goroutines" leaves a goroutine behind for each request, "heap" keeps what it answered, "clean" does neither.
// "descriptors" holds 3,200 of them from its start on, "both" also 150 MiB, with more garbage. Where it listens may be
// a second argument.
package main

import (
	_ "expvar"
	"fmt"
	"net"
	"net/http"
	_ "net/http/pprof"
	"os"
	"runtime"
	"sync"
)

var (
	lock   sync.Mutex
	kept   [][]byte
	nobody = make(chan int)
	files  []*os.File
)

// Never inlined, so that its line is the place.
//
//go:noinline
func subscribe() {
	go func() { <-nobody }()
}

//go:noinline
func keepAnswer() {
	answer := make([]byte, 1<<19)
	for at := range answer {
		answer[at] = 1
	}
	lock.Lock()
	kept = append(kept, answer)
	lock.Unlock()
}

func hold() {
	for len(files) < 3200 {
		file, err := os.Open(os.DevNull)
		if err != nil {
			panic(err)
		}
		files = append(files, file)
	}
}

func main() {
	disease := os.Args[1]
	address := "127.0.0.1:0"
	if len(os.Args) > 2 {
		address = os.Args[2]
	}
	size := 1 << 16
	if disease == "descriptors" || disease == "both" {
		hold()
	}
	if disease == "both" {
		size = 1 << 23
		for len(kept) < 300 {
			keepAnswer()
		}
	}
	http.HandleFunc("/work", func(w http.ResponseWriter, r *http.Request) {
		// Garbage of everyday, collected again and again.
		garbage := make([]byte, size)
		switch disease {
		case "goroutines":
			subscribe()
		case "heap":
			keepAnswer()
		}
		fmt.Fprintln(w, len(garbage))
	})
	http.HandleFunc("/metrics", func(w http.ResponseWriter, r *http.Request) {
		var told runtime.MemStats
		runtime.ReadMemStats(&told)
		fmt.Fprintf(w, "# TYPE go_goroutines gauge\ngo_goroutines %d\n", runtime.NumGoroutine())
		fmt.Fprintf(w, "# TYPE go_memstats_heap_inuse_bytes gauge\ngo_memstats_heap_inuse_bytes %d\n", told.HeapInuse)
		fmt.Fprintf(w, "# TYPE go_gc_duration_seconds summary\ngo_gc_duration_seconds_count %d\n", told.NumGC)
	})
	listener, err := net.Listen("tcp", address)
	if err != nil {
		panic(err)
	}
	fmt.Println("listening on", listener.Addr())
	panic(http.Serve(listener, nil))
}
