// Command storm makes many concurrent calls and a stream of records while the server is killed: its arguments are the server's address
// and how many.
package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	tollgate "tollgate.dev/client"
)

func main() {
	calls, err := strconv.Atoi(os.Args[2])
	must(err)
	gate := tollgate.New(os.Args[1], "")
	gate.Patience = 2 * time.Minute
	ctx := context.Background()
	must(gate.SetPlan(ctx, "acme", "pro"))
	must(gate.SetPlan(ctx, "globex", "pro"))
	var workers sync.WaitGroup
	var next, done atomic.Int64
	for range 64 {
		workers.Add(1)
		go func() {
			defer workers.Done()
			for number := next.Add(1); number <= int64(calls); number = next.Add(1) {
				usage := tollgate.Usage{Org: "acme", Meter: "api_call", Key: fmt.Sprintf("call-%d", number)}
				decision, err := gate.Use(ctx, usage)
				must(err)
				if !decision.Allowed {
					panic(decision.Detail)
				}
				if done.Add(1)%int64(calls/10) == 0 {
					fmt.Println("progress")
				}
			}
		}()
	}
	batcher := tollgate.NewBatcher(gate, 50, 10*time.Millisecond)
	for range calls {
		batcher.Add(tollgate.Usage{Org: "globex", Meter: "api_call"})
	}
	batcher.Close()
	if len(batcher.Rejected) > 0 || batcher.Counted+batcher.Duplicates != calls {
		panic(fmt.Sprintf("%d counted, %d duplicates, rejected %v", batcher.Counted, batcher.Duplicates, batcher.Rejected))
	}
	workers.Wait()
	fmt.Println("done")
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
