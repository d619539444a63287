// A small service as found in the wild, on Go's own HTTP server, with its faults switched by the path.
//
// usage: service UPSTREAM_PORT FOLDER      (prints "listening on PORT")
// The paths are those of service.py; built with tracing.go it exports spans.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

var (
	upstream  = "http://127.0.0.1:" + os.Args[1] + "/big"
	forgotten []any
	lock      sync.Mutex
	cached    = map[string]*os.File{}
	order     []string
	// What handles requests, with what traces them around it; that is another file's affair.
	wrap = func(inner http.Handler) http.Handler { return inner }
	// The same for what asks others; here that stays as it is.
	carry = func(inner http.RoundTripper) http.RoundTripper { return inner }
)

func forget(what any) {
	lock.Lock()
	defer lock.Unlock()
	forgotten = append(forgotten, what)
}

func settings(leak bool) error {
	file, err := os.Open("/etc/hostname")
	if err != nil {
		return err
	}
	if _, err = io.ReadAll(file); err != nil {
		return err
	}
	if leak {
		forget(file)
		return nil
	}
	return file.Close()
}

func scratch(leak bool) error {
	file, err := os.CreateTemp("", "service-")
	if err != nil {
		return err
	}
	os.Remove(file.Name())
	fmt.Fprint(file, strings.Repeat("x", 1000))
	if leak {
		forget(file)
		return nil
	}
	return file.Close()
}

func child(leak bool) error {
	command := exec.Command("true")
	ours, theirs, err := os.Pipe()
	if err != nil {
		return err
	}
	command.Stdout = theirs
	if err = command.Run(); err != nil {
		return err
	}
	theirs.Close()
	if leak {
		forget(ours)
		return nil
	}
	return ours.Close()
}

func body(leak bool) error {
	answer, err := http.Get(upstream)
	if err != nil {
		return err
	}
	if leak {
		forget(answer)
		return nil
	}
	defer answer.Body.Close()
	_, err = io.Copy(io.Discard, answer.Body)
	return err
}

func cache(name string) error {
	lock.Lock()
	defer lock.Unlock()
	file, known := cached[name]
	if !known {
		var err error
		if file, err = os.Open(filepath.Join(os.Args[2], name)); err != nil {
			return err
		}
		cached[name] = file
		if order = append(order, name); len(order) > 40 {
			cached[order[0]].Close()
			delete(cached, order[0])
			order = order[1:]
		}
	}
	_, err := file.ReadAt(make([]byte, 4), 0)
	return err
}

func serve(response http.ResponseWriter, request *http.Request) {
	parts := append(strings.Split(strings.Trim(request.URL.Path, "/"), "/"), "")
	var err error
	switch leak := parts[0] == "leak"; parts[0] {
	case "leak", "fine":
		err = map[string]func(bool) error{"file": settings, "temp": scratch, "pipe": child, "body": body}[parts[1]](leak)
	case "pool":
		err = body(false)
	case "keep":
		var file *os.File
		if file, err = os.Open(filepath.Join(os.Args[2], parts[1])); err == nil {
			forget(file)
		}
	case "cache":
		err = cache(parts[1])
	case "big":
		io.WriteString(response, strings.Repeat("x", 400000))
		return
	}
	if err != nil {
		http.Error(response, err.Error(), 500)
		return
	}
	io.WriteString(response, "ok")
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println("listening on", listener.Addr().(*net.TCPAddr).Port)
	panic(http.Serve(listener, wrap(http.HandlerFunc(serve))))
}
