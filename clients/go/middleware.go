package tollgate

import (
	"context"
	"net/http"
	"strconv"
	"strings"
)

// Caller says who uses what a request uses. Quantity is 1 if empty.
type Caller struct{ Org, User, Quantity string }

// Middleware asks before the handler works. A denial is answered with the problem of the server, and the handler does not run.
// identify gives who calls, or false for what is not counted. The request's Idempotency-Key is the key; without one each request
// counts. If the handler fails (5xx or a panic) the usage is taken back.
func Middleware(client *Client, meter string, identify func(*http.Request) (Caller, bool)) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			caller, counted := identify(r)
			if !counted {
				next.ServeHTTP(w, r)
				return
			}
			usage := Usage{Org: caller.Org, User: caller.User, Quantity: caller.Quantity, Meter: meter}
			if usage.Key = strings.Trim(r.Header.Get("Idempotency-Key"), `"`); usage.Key == "" {
				usage.Key = NewKey()
			}
			decision, err := client.Use(r.Context(), usage)
			if err != nil {
				http.Error(w, "the quota could not be checked", http.StatusServiceUnavailable)
				return
			}
			if !decision.Allowed {
				deny(w, decision)
				return
			}
			watched := &statusWriter{ResponseWriter: w, status: http.StatusOK}
			finished := false
			defer func() {
				// A replay was paid for by the request that came first.
				if (!finished || watched.status >= 500) && !decision.Replayed {
					_ = client.Reverse(context.WithoutCancel(r.Context()), usage.Org, usage.Key)
				}
			}()
			next.ServeHTTP(watched, r)
			finished = true
		})
	}
}

func deny(w http.ResponseWriter, decision Decision) {
	w.Header().Set("Content-Type", "application/problem+json")
	if decision.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(decision.RetryAfter.Seconds())))
	}
	w.WriteHeader(decision.Status)
	_, _ = w.Write(decision.Problem)
}

// statusWriter remembers the status.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController reach what is wrapped.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
