// Package tollgate is a client of Tollgate: ask before you work, count once, retry safely.
//
// Every call that changes something carries an idempotency key, made once per call and kept over all its attempts. So a call is
// sent again after a lost answer, a restart of the server or a 503, and still counts once. There are no dependencies.
package tollgate

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	firstPause = 50 * time.Millisecond
	pauseMax   = 5 * time.Second
)

// Client may be shared by goroutines. Its fields are set before the first call.
type Client struct {
	// URL is TOLLGATE_URL, or http://127.0.0.1:8080, unless set.
	URL string
	// APIKey is TOLLGATE_API_KEY unless set.
	APIKey string
	// Patience is how long one call is tried again before ErrUnreachable; 30 s unless set.
	Patience time.Duration
	// HTTP sends the requests; one with a time-out of 10 s unless set.
	HTTP *http.Client
}

// New gives a client with the settings of the environment where url and apiKey are empty.
func New(url, apiKey string) *Client {
	if url == "" {
		url = os.Getenv("TOLLGATE_URL")
	}
	if url == "" {
		url = "http://127.0.0.1:8080"
	}
	if apiKey == "" {
		apiKey = os.Getenv("TOLLGATE_API_KEY")
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 100
	return &Client{
		URL:      strings.TrimSuffix(url, "/"),
		APIKey:   apiKey,
		Patience: 30 * time.Second,
		HTTP:     &http.Client{Timeout: 10 * time.Second, Transport: transport},
	}
}

// Usage is one use of a meter. Quantity is an exact decimal as text and 1 if empty; or Call is priced by the catalog.
type Usage struct {
	Org        string         `json:"org"`
	Meter      string         `json:"meter"`
	Quantity   string         `json:"quantity,omitempty"`
	Call       *ModelCall     `json:"call,omitempty"`
	User       string         `json:"user,omitempty"`
	Path       string         `json:"path,omitempty"` // such as research/agent-7/run-42
	Key        string         `json:"key,omitempty"`
	Time       *time.Time     `json:"time,omitempty"`
	Properties map[string]any `json:"properties,omitempty"`
}

// ModelCall is a call of a language model, in place of a quantity: the catalog prices it.
type ModelCall struct {
	Model             string `json:"model"`
	Tier              string `json:"tier,omitempty"` // standard, batch, flex or priority
	InputTokens       uint64 `json:"input_tokens,omitempty"`
	CachedInputTokens uint64 `json:"cached_input_tokens,omitempty"`
	CacheWriteTokens  uint64 `json:"cache_write_tokens,omitempty"`
	AudioInputTokens  uint64 `json:"audio_input_tokens,omitempty"`
	OutputTokens      uint64 `json:"output_tokens,omitempty"` // in a hold: what may come at most
	ReasoningTokens   uint64 `json:"reasoning_tokens,omitempty"`
	AudioOutputTokens uint64 `json:"audio_output_tokens,omitempty"`
}

// Limit is the limit or credit that decided a denial.
type Limit struct {
	Scope     string       `json:"scope"`
	User      string       `json:"user"`
	Path      string       `json:"path"`
	Window    string       `json:"window"`
	Amount    *json.Number `json:"amount"`
	Used      *json.Number `json:"used"`
	Remaining *json.Number `json:"remaining"`
	// Held is what holds reserve of it.
	Held     *json.Number `json:"held"`
	ResetsAt *time.Time   `json:"resets_at"`
}

// Decision is the answer to a usage. When it is denied nothing was counted, and the key is still free.
type Decision struct {
	Allowed  bool        `json:"allowed"`
	Replayed bool        `json:"replayed"`
	Key      string      `json:"key"`
	Org      string      `json:"org"`
	User     string      `json:"user"`
	Path     string      `json:"path"`
	Meter    string      `json:"meter"`
	Quantity json.Number `json:"quantity"`
	// Remaining is nil where the plan does not ask for credit.
	Remaining *json.Number `json:"remaining"`
	// Used is what is used of Total, the period's credit; Held what holds reserve of it.
	Used  json.Number  `json:"used"`
	Total json.Number  `json:"total"`
	Held  *json.Number `json:"held"`
	// UserUsed is what the user used this month.
	UserUsed *json.Number `json:"user_used"`
	// Entry is the number of the ledger entry.
	Entry uint64 `json:"entry"`

	// Of a denial: `org_limit_reached`, `path_limit_reached`, `user_limit_reached`, `no_plan` …
	Code   string `json:"code"`
	Detail string `json:"detail"`
	// 402: buying helps; 429: waiting helps; 403: neither.
	Status int    `json:"status"`
	Limit  *Limit `json:"limit"`
	// RetryAfter is when there is room again, with 429.
	RetryAfter time.Duration `json:"-"`
	// Problem is the whole answer of a denial, application/problem+json.
	Problem json.RawMessage `json:"-"`
}

// APIError says that the call is wrong, or that the server failed for good.
type APIError struct {
	Status int    `json:"status"`
	Code   string `json:"code"`
	Title  string `json:"title"`
	Detail string `json:"detail"`
	Field  string `json:"field"`
	// RequestID finds it in the server's log.
	RequestID string `json:"request_id"`
}

func (e *APIError) Error() string { return fmt.Sprintf("%d %s: %s", e.Status, e.Code, e.Detail) }

// ErrUnreachable says that there was no answer within the patience of the client. The call may have been counted: send it again
// with the same key.
var ErrUnreachable = errors.New("tollgate: no answer")

// Use checks and counts in one step. Give the id of your work as the key; without one, a random key is made for this call.
func (c *Client) Use(ctx context.Context, usage Usage) (Decision, error) {
	if usage.Key == "" {
		usage.Key = NewKey()
	}
	var decision Decision
	answer, err := c.send(ctx, http.MethodPost, "/v1/usage", usage)
	if err != nil {
		return decision, err
	}
	if err := json.Unmarshal(answer.body, &decision); err != nil {
		return decision, err
	}
	if !decision.Allowed {
		decision.RetryAfter, decision.Problem = answer.retryAfter, answer.body
	}
	return decision, nil
}

// Reverse takes a usage back by its key, once.
func (c *Client) Reverse(ctx context.Context, org, key string) error {
	return c.Call(ctx, http.MethodPost, "/v1/usage/reversals", map[string]string{"org": org, "key": key}, nil)
}

// SetPlan sets the plan of an organization, and creates it.
func (c *Client) SetPlan(ctx context.Context, org, plan string) error {
	return c.Call(ctx, http.MethodPut, "/v1/orgs/"+url.PathEscape(org)+"/plan", map[string]string{"plan": plan}, nil)
}

// TopUp is credit to add. Amount is an exact decimal as text; EffectiveAt is at once and ExpiresAt the end of the month if empty,
// or RFC 3339, or "never". Lower priorities burn first.
type TopUp struct {
	Meter       string         `json:"meter"`
	Amount      string         `json:"amount"`
	Key         string         `json:"key,omitempty"`
	EffectiveAt string         `json:"effective_at,omitempty"`
	ExpiresAt   string         `json:"expires_at,omitempty"`
	Priority    *int           `json:"priority,omitempty"`
	Reason      string         `json:"reason,omitempty"`
	Metadata    map[string]any `json:"metadata,omitempty"`
}

// TopUp adds credit, once for each key. Without one, a random key is made for this call.
func (c *Client) TopUp(ctx context.Context, org string, topUp TopUp) error {
	if topUp.Key == "" {
		topUp.Key = NewKey()
	}
	return c.Do(ctx, OpTopUp, map[string]string{"org": org}, topUp, nil)
}

// Recorded says what became of a batch.
type Recorded struct {
	Counted    int `json:"counted"`
	Duplicates int `json:"duplicates"`
	Rejected   int `json:"rejected"`
	Results    []struct {
		Index  int    `json:"index"`
		Status string `json:"status"`
		Code   string `json:"code"`
		Detail string `json:"detail"`
		Field  string `json:"field"`
		Entry  uint64 `json:"entry"`
	} `json:"results"`
}

// Record counts usage that has happened, up to 10,000 records. Records without a key get one in place, so that the same slice may
// be sent again.
func (c *Client) Record(ctx context.Context, records []Usage) (Recorded, error) {
	for i := range records {
		if records[i].Key == "" {
			records[i].Key = NewKey()
		}
	}
	var recorded Recorded
	err := c.Call(ctx, http.MethodPost, "/v1/usage/batch", records, &recorded)
	return recorded, err
}

// Call sends any request and reads the answer into out, unless that is nil. It is sent again after a lost answer: give what
// changes something a key.
func (c *Client) Call(ctx context.Context, method, path string, body, out any) error {
	answer, err := c.send(ctx, method, path, body)
	if err != nil || out == nil {
		return err
	}
	decoder := json.NewDecoder(bytes.NewReader(answer.body))
	decoder.UseNumber()
	return decoder.Decode(out)
}

// Operation is a route of the API; those there are begin with Op.
type Operation struct {
	// ID is its operation id in openapi.json.
	ID, Method, Path string
	// Query has the names of the parameters that it takes besides those of its path.
	Query []string
}

// Do calls an operation: Do(ctx, OpListHolds, map[string]string{"org": "acme", "limit": "10"}, nil, &page).
func (c *Client) Do(ctx context.Context, op Operation, parameters map[string]string, body, out any) error {
	path, query := op.Path, url.Values{}
	for name, value := range parameters {
		inPath := strings.Contains(path, "{"+name+"}")
		if !inPath && !slices.Contains(op.Query, name) {
			return fmt.Errorf("tollgate: %s takes no %s", op.ID, name)
		}
		if inPath {
			path = strings.ReplaceAll(path, "{"+name+"}", url.PathEscape(value))
		} else {
			query.Set(name, value)
		}
	}
	if missing := strings.Contains(op.Path, "{") && len(parameters)-len(query) < strings.Count(op.Path, "{"); missing {
		return fmt.Errorf("tollgate: %s needs every name of %s", op.ID, op.Path)
	}
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	return c.Call(ctx, op.Method, path, body, out)
}

// NewKey makes a random key.
func NewKey() string {
	var bytes [16]byte
	if _, err := rand.Read(bytes[:]); err != nil {
		panic(err) // The operating system has no randomness.
	}
	return hex.EncodeToString(bytes[:])
}

type answer struct {
	body       []byte
	status     int
	retryAfter time.Duration
}

// send repeats a request until there is an answer that stands, pausing longer each time.
func (c *Client) send(ctx context.Context, method, path string, body any) (answer, error) {
	var sent []byte
	if body != nil {
		var err error
		if sent, err = json.Marshal(body); err != nil {
			return answer{}, err
		}
	}
	waited, pause := time.Duration(0), firstPause
	for {
		got, err := c.once(ctx, method, path, sent)
		if err == nil {
			problem := struct {
				APIError
				Allowed *bool `json:"allowed"`
			}{}
			if got.status >= 400 {
				_ = json.Unmarshal(got.body, &problem) // A proxy may answer with something else.
			}
			transient := got.status == 408 || got.status >= 500 || (got.status == 429 && problem.Code == "rate_limited")
			if !transient {
				if got.status < 400 || (problem.Allowed != nil && !*problem.Allowed) {
					return got, nil
				}
				problem.Status = got.status
				return answer{}, &problem.APIError
			}
			err = fmt.Errorf("%d %s", got.status, problem.Code)
		}
		// Half of the pause is random, so that many clients do not come back together.
		next := pause/2 + time.Duration(mathrand.Int63n(int64(pause/2)+1))
		next = max(next, min(got.retryAfter, pauseMax))
		if waited+next > c.Patience {
			return answer{}, fmt.Errorf("%w to %s %s in %s: %w", ErrUnreachable, method, path, waited, err)
		}
		select {
		case <-ctx.Done():
			return answer{}, ctx.Err()
		case <-time.After(next):
		}
		waited, pause = waited+next, min(pause*2, pauseMax)
	}
}

func (c *Client) once(ctx context.Context, method, path string, body []byte) (answer, error) {
	request, err := http.NewRequestWithContext(ctx, method, c.URL+path, bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if c.APIKey != "" {
		request.Header.Set("Authorization", "Bearer "+c.APIKey)
	}
	response, err := c.HTTP.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	got, err := io.ReadAll(response.Body)
	if err != nil {
		return answer{}, err
	}
	seconds, _ := strconv.Atoi(response.Header.Get("Retry-After"))
	return answer{body: got, status: response.StatusCode, retryAfter: time.Duration(seconds) * time.Second}, nil
}
