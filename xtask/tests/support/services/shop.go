// A shop's back end as found in the wild, in Go: each request reserves an item and shows it.
//
// usage: shop UPSTREAM_PORT FOLDER      (prints "listening on PORT")
// Settings, SIGUSR2 and the rest are as in shop.py; its own profiles are at /debug/pprof.
package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	_ "net/http/pprof"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

var (
	upstream = os.Args[1]
	current  atomic.Pointer[map[string]any]
	stock    sync.Mutex
	lists    sync.Mutex
	sessions [][]byte
	report   [][]byte
	themes   []*os.File
	count    atomic.Int64
	asks     atomic.Pointer[http.Client]
	pooled   atomic.Int64
	usual    *http.Client
	// Of the work of a page.
	perMicrosecond = speed()
	wrap     = func(inner http.Handler) http.Handler { return inner }
	carry    = func(inner http.RoundTripper) http.RoundTripper { return inner }
)

func settings() {
	text, err := os.ReadFile(filepath.Join(os.Args[2], "settings.json"))
	if err != nil {
		panic(err)
	}
	read := map[string]any{}
	if err = json.Unmarshal(text, &read); err != nil {
		panic(err)
	}
	current.Store(&read)
	if get("theme_kept") == 0 {
		lists.Lock()
		for _, file := range themes {
			file.Close()
		}
		themes = nil
		lists.Unlock()
	}
	if pool := get("pool"); pool > 0 && pooled.Swap(int64(pool)) != int64(pool) {
		kept := &http.Transport{MaxConnsPerHost: pool, MaxIdleConnsPerHost: pool}
		if before := asks.Swap(&http.Client{Transport: carry(kept)}); before != nil {
			before.CloseIdleConnections()
		}
	}
}

func get(name string) int {
	number, _ := (*current.Load())[name].(float64)
	return int(number)
}

func digests(count int) {
	digest := sha256.Sum256([]byte("page"))
	for n := 0; n < count; n++ {
		digest = sha256.Sum256(digest[:])
	}
}

// How many a microsecond takes on this machine: at the best of some trials, others may run meanwhile.
func speed() float64 {
	best := time.Hour
	for n := 0; n < 10; n++ {
		begun := time.Now()
		digests(10000)
		best = min(best, time.Since(begun))
	}
	return 10000 / (float64(best) / 1000)
}

func render(us int) {
	digests(int(float64(us) * perMicrosecond))
}

// Others want the stock too; whoever writes it down holds it meanwhile.
func reserve(ms int) {
	stock.Lock()
	defer stock.Unlock()
	time.Sleep(time.Duration(ms) * time.Millisecond)
}

func theme(kept int) error {
	file, err := os.Open("/etc/hostname")
	if err != nil {
		return err
	}
	if _, err = io.ReadAll(file); err != nil {
		return err
	}
	if kept > 0 {
		lists.Lock()
		defer lists.Unlock()
		themes = append(themes, file)
		return nil
	}
	return file.Close()
}

func block(kb int) []byte {
	made := make([]byte, kb*1024)
	for at := range made {
		made[at] = byte(at)
	}
	return made
}

func remember(kb int) {
	lists.Lock()
	defer lists.Unlock()
	sessions = append(sessions, block(kb))
}

// A batch that is built up and let go.
func batch(kb int) {
	lists.Lock()
	defer lists.Unlock()
	if report = append(report, block(kb)); len(report) > 200 {
		report = nil
	}
}

// Somebody is told when the item is there again.
func watch() {
	news := make(chan string)
	go func() { fmt.Println(<-news) }()
}

// So many prices of a hundred are in the cache.
func isKnown(number int) bool {
	return number*37%100 < get("cached")
}

// What it costs, from who knows; another try or two where none is answered in time.
func ask(within context.Context) (err error) {
	for try := 0; try <= get("retries"); try++ {
		if err = askOnce(within); err == nil {
			break
		}
	}
	return err
}

func askOnce(within context.Context) error {
	if ms := get("timeout_ms"); ms > 0 {
		timed, end := context.WithTimeout(within, time.Duration(ms)*time.Millisecond)
		defer end()
		within = timed
	}
	client := asks.Load()
	if client == nil {
		client = usual
	}
	question, err := http.NewRequestWithContext(within, "GET", "http://"+upstream+"/price/1", nil)
	if err != nil {
		return err
	}
	question.Close = get("fresh") > 0
	answer, err := client.Do(question)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	_, err = io.Copy(io.Discard, answer.Body)
	return err
}

func journal(kb int) error {
	file, err := os.CreateTemp(os.Args[2], "journal-")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	defer file.Close()
	if _, err = file.Write(block(kb)); err != nil {
		return err
	}
	return file.Sync()
}

func serve(response http.ResponseWriter, request *http.Request) {
	number := int(count.Add(1))
	render(get("work_us"))
	reserve(get("reserve_ms"))
	err := theme(get("theme_kept"))
	if kb := get("session_kb"); kb > 0 {
		remember(kb)
	}
	if get("watch") > 0 {
		watch()
	}
	if err == nil && get("ask") > 0 && !isKnown(number) {
		err = ask(request.Context())
	}
	if kb := get("journal_kb"); err == nil && kb > 0 {
		err = journal(kb)
	}
	if kb := get("report_kb"); kb > 0 {
		batch(kb)
	}
	if every := get("pause_every"); every > 0 && number%every == 0 {
		time.Sleep(time.Duration(get("pause_ms")) * time.Millisecond)
	}
	time.Sleep(time.Duration(get("answer_ms")) * time.Millisecond)
	if err != nil {
		http.Error(response, err.Error(), 502)
		return
	}
	text := strings.Repeat("x", 1024*max(1, get("page_kb")))
	response.Header().Set("Content-Length", fmt.Sprint(len(text)))
	io.WriteString(response, text)
}

func main() {
	usual = &http.Client{Transport: carry(http.DefaultTransport)}
	settings()
	again := make(chan os.Signal, 1)
	signal.Notify(again, syscall.SIGUSR2)
	go func() {
		for range again {
			settings()
		}
	}()
	if !strings.Contains(upstream, ":") {
		upstream = "127.0.0.1:" + upstream
	}
	host, _ := (*current.Load())["host"].(string)
	if host == "" {
		host = "127.0.0.1"
	}
	listener, err := net.Listen("tcp", host+":0")
	if err != nil {
		panic(err)
	}
	fmt.Println("listening on", listener.Addr().(*net.TCPAddr).Port)
	http.Handle("/", wrap(http.HandlerFunc(serve)))
	panic(http.Serve(listener, nil))
}
