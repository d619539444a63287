// alpha calls beta calls gamma, which opens a file; what runtime.Callers says of that is printed.
package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
)

var kept *os.File

//go:noinline
func gamma(depth int) int {
	frames := make([]uintptr, 64)
	all := runtime.CallersFrames(frames[:runtime.Callers(1, frames)])
	kept, _ = os.Open("/etc/hostname")
	for more := true; more; {
		var frame runtime.Frame
		frame, more = all.Next()
		fmt.Println(frame.Function)
	}
	fmt.Println("end")
	return depth
}

//go:noinline
func beta(depth int) int { return gamma(depth+1) + 1 }

//go:noinline
func alpha(depth int) int { return beta(depth+1) + 1 }

func main() {
	input := bufio.NewReader(os.Stdin)
	fmt.Println("ready")
	input.ReadString('\n')
	depth := alpha(0)
	input.ReadString('\n')
	os.Exit(depth)
}
