// Command tour is the tour of the README in Go, then the batcher and the middleware, against a server whose address is the argument.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"time"

	tollgate "tollgate.dev/client"
)

var ctx = context.Background()

func main() {
	gate := tollgate.New(os.Args[1], "")
	tour(gate)
	holds(gate)
	calls(gate)
	batches(gate)
	middleware(gate)
	fmt.Println("done")
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func assert(holds bool, what any) {
	if !holds {
		panic(fmt.Sprintf("does not hold: %+v", what))
	}
}

func use(gate *tollgate.Client, usage tollgate.Usage) tollgate.Decision {
	usage.Org, usage.Meter = "acme", "reports"
	decision, err := gate.Use(ctx, usage)
	must(err)
	return decision
}

func tour(gate *tollgate.Client) {
	must(gate.SetPlan(ctx, "acme", "lite"))
	first := use(gate, tollgate.Usage{User: "ada", Key: "report-1"})
	assert(first.Allowed && !first.Replayed && first.Remaining.String() == "19", first)
	again := use(gate, tollgate.Usage{User: "ada", Key: "report-1"})
	assert(again.Allowed && again.Replayed && again.Remaining.String() == "19", again)

	limit := map[string]any{"meter": "reports", "scope": "user", "amount": 15}
	must(gate.Call(ctx, http.MethodPut, "/v1/orgs/acme/limits", limit, nil))
	denied := use(gate, tollgate.Usage{User: "ada", Quantity: "15", Key: "report-2"})
	assert(!denied.Allowed && denied.Status == 403 && denied.Code == "user_limit_reached", denied)
	assert(denied.Limit.User == "ada" && denied.Limit.Remaining.String() == "14", denied.Limit)

	assert(use(gate, tollgate.Usage{User: "ada", Quantity: "14"}).Allowed, "there is room")
	order := tollgate.Usage{User: "ben", Quantity: "10", Key: "report-4"}
	poor := use(gate, order)
	assert(!poor.Allowed && poor.Status == 402 && poor.Code == "org_limit_reached", poor)
	must(gate.TopUp(ctx, "acme", tollgate.TopUp{Meter: "reports", Amount: "25", Key: "goodwill-1"}))
	rich := use(gate, order)
	assert(rich.Allowed && rich.Remaining.String() == "20", rich)
	must(gate.Reverse(ctx, "acme", "report-4"))

	_, err := gate.Use(ctx, tollgate.Usage{Org: "acme", Meter: "reports", User: "ben", Quantity: "-1"})
	var wrong *tollgate.APIError
	assert(errors.As(err, &wrong) && wrong.Status == 422 && wrong.Field == "quantity", err)
}

func left(gate *tollgate.Client) string {
	balance := struct {
		Meters map[string]struct {
			Remaining json.Number `json:"remaining"`
		} `json:"meters"`
	}{}
	must(gate.Do(ctx, tollgate.OpBalance, map[string]string{"org": "acme"}, nil, &balance))
	return balance.Meters["reports"].Remaining.String()
}

func holds(gate *tollgate.Client) {
	hold := func(quantity, within string) (*tollgate.Held, error) {
		order := tollgate.Hold{Org: "acme", Meter: "reports", Quantity: quantity, User: "cal", Within: within}
		return gate.Hold(ctx, order)
	}
	held, err := hold("10", "")
	must(err)
	assert(left(gate) == "20", "it is reserved")
	step, err := hold("4", held.Item.ID)
	must(err)
	must(step.CapturePart(ctx, "1"))
	must(step.Capture(ctx, "2"))
	var wrong *tollgate.APIError
	assert(errors.As(held.Capture(ctx, "11"), &wrong) && wrong.Code == "more_than_held", wrong)
	must(held.Capture(ctx, "3"))
	must(held.Release(ctx))
	assert(held.Item.State == "captured" && left(gate) == "24", held.Item)

	held, err = hold("9", "")
	must(err)
	page := struct {
		Holds []tollgate.HoldItem `json:"holds"`
	}{}
	must(gate.Do(ctx, tollgate.OpListHolds, map[string]string{"org": "acme", "limit": "10"}, nil, &page))
	assert(len(page.Holds) == 1 && page.Holds[0].ID == held.Item.ID, page)
	must(held.Release(ctx))
	assert(left(gate) == "24", "it is given back")
	_, err = hold("20", "")
	var denied *tollgate.DeniedError
	assert(errors.As(err, &denied) && denied.Decision.Code == "user_limit_reached", err)
	assert(gate.Do(ctx, tollgate.OpListHolds, nil, nil, nil) != nil, "it needs an org")
	wrongName := map[string]string{"org": "acme", "limits": "1"}
	assert(gate.Do(ctx, tollgate.OpListHolds, wrongName, nil, nil) != nil, "it takes no limits")
}

func calls(gate *tollgate.Client) {
	reply := struct {
		Catalog map[string]any `json:"catalog"`
	}{}
	must(gate.Do(ctx, tollgate.OpGetCatalog, nil, nil, &reply))
	catalog := reply.Catalog
	more := func(list string, item map[string]any) {
		items, _ := catalog[list].([]any)
		catalog[list] = append(items, item)
	}
	more("meters", map[string]any{"id": "usd", "name": "US dollars", "unit": "USD"})
	allowance := map[string]any{"meter": "usd", "amount": 1}
	more("plans", map[string]any{"id": "calls", "name": "Calls", "allowances": []any{allowance}})
	more("models", map[string]any{"id": "small", "rates": []any{map[string]any{"input": 1, "output": 2}}})
	must(gate.Call(ctx, http.MethodPut, "/v1/catalog", catalog, nil))
	must(gate.SetPlan(ctx, "initech", "calls"))

	most := tollgate.ModelCall{Model: "small", InputTokens: 1_000, OutputTokens: 100_000}
	cost := tollgate.ModelCall{Model: "small", InputTokens: 1_000, OutputTokens: 500}
	held, err := gate.Hold(ctx, tollgate.Hold{Org: "initech", Meter: "usd", Call: &most})
	must(err)
	assert(held.Item.Quantity.String() == "0.201", held.Item)
	must(held.CaptureCall(ctx, cost))
	assert(held.Item.Captured.String() == "0.002", held.Item)
	used, err := gate.Use(ctx, tollgate.Usage{Org: "initech", Meter: "usd", Call: &cost})
	must(err)
	assert(used.Allowed && used.Quantity.String() == "0.002", used)
}

func batches(gate *tollgate.Client) {
	batcher := tollgate.NewBatcher(gate, 10, 10*time.Millisecond)
	for number := range 25 {
		batcher.Add(tollgate.Usage{Org: "acme", Meter: "reports", Key: fmt.Sprintf("late-%d", number)})
	}
	batcher.Add(tollgate.Usage{Org: "acme", Meter: "reports", Key: "late-0"})
	batcher.Add(tollgate.Usage{Org: "acme", Meter: "repots", Key: "wrong"})
	batcher.Close()
	assert(batcher.Counted == 25 && batcher.Duplicates == 1, batcher)
	assert(len(batcher.Rejected) == 1 && batcher.Rejected[0].Code == "unknown_meter", batcher.Rejected)
}

func middleware(gate *tollgate.Client) {
	must(gate.SetPlan(ctx, "globex", "trial"))
	identify := func(r *http.Request) (tollgate.Caller, bool) {
		org := r.Header.Get("X-Org")
		return tollgate.Caller{Org: org}, org != ""
	}
	handler := tollgate.Middleware(gate, "reports", identify)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/broken" {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	get := func(path, org, key string) *httptest.ResponseRecorder {
		request := httptest.NewRequest(http.MethodGet, path, nil)
		request.Header.Set("X-Org", org)
		request.Header.Set("Idempotency-Key", key)
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, request)
		return recorder
	}
	assert(get("/", "", "").Code == 200, "nobody is counted who is not identified")
	for range 3 {
		assert(get("/", "globex", "page-1").Code == 200, "counts once")
	}
	assert(get("/broken", "globex", "").Code == 500, "what failed is taken back")
	for range 9 {
		assert(get("/", "globex", "").Code == 200, "there is room")
	}
	refused := get("/", "globex", "")
	assert(refused.Code == 402 && refused.Header().Get("Content-Type") == "application/problem+json", refused)
}
