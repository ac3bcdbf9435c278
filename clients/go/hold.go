package tollgate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// Hold is an amount to reserve. Quantity and Overrun are exact decimals as text; a Call is priced by the catalog.
type Hold struct {
	Org        string         `json:"org"`
	Meter      string         `json:"meter"`
	Quantity   string         `json:"quantity,omitempty"`
	Call       *ModelCall     `json:"call,omitempty"` // in place of a quantity
	User       string         `json:"user,omitempty"`
	Path       string         `json:"path,omitempty"` // such as research/agent-7/run-42
	Key        string         `json:"key,omitempty"`
	ExpiresIn  int            `json:"expires_in,omitempty"` // seconds; 600 if 0
	Overrun    string         `json:"overrun,omitempty"`    // how much more may be captured
	OnExpiry   string         `json:"on_expiry,omitempty"`  // release or charge
	Within     string         `json:"within,omitempty"`     // the hold to carve it out of
	Properties map[string]any `json:"properties,omitempty"`
}

// HoldItem is a hold as the server knows it.
type HoldItem struct {
	ID         string         `json:"hold"`
	State      string         `json:"state"` // open, captured, released or expired
	Org        string         `json:"org"`
	User       string         `json:"user"`
	Path       string         `json:"path"`
	Meter      string         `json:"meter"`
	Key        string         `json:"key"`
	Quantity   json.Number    `json:"quantity"`
	Held       json.Number    `json:"held"`
	Captured   json.Number    `json:"captured"`
	Overran    json.Number    `json:"overran"`
	Carved     json.Number    `json:"carved"`
	Overrun    json.Number    `json:"overrun"`
	OnExpiry   string         `json:"on_expiry"`
	Within     string         `json:"within"`
	Properties map[string]any `json:"properties"`
	MadeAt     time.Time      `json:"made_at"`
	ExpiresAt  time.Time      `json:"expires_at"`
	EndedAt    *time.Time     `json:"ended_at"`
	EndedBy    uint64         `json:"ended_by"`
}

// DeniedError is the error of a hold for which there is no room.
type DeniedError struct{ Decision Decision }

func (e *DeniedError) Error() string { return fmt.Sprintf("%s: %s", e.Decision.Code, e.Decision.Detail) }

// Held is a hold that was taken.
//
//	held, err := gate.Hold(ctx, tollgate.Hold{Org: "acme", Meter: "tokens", Quantity: "4000", Key: "call-7"})
//	if err != nil { … }
//	defer held.Release(ctx) // gives back what was not captured
type Held struct {
	// Item is the hold as it was after the last call.
	Item HoldItem
	// Replayed says that it was taken before: a retry.
	Replayed bool
	client   *Client
	open     bool
}

// Hold reserves an amount. If there is no room the error is a *DeniedError.
func (c *Client) Hold(ctx context.Context, hold Hold) (*Held, error) {
	if hold.Key == "" {
		hold.Key = NewKey()
	}
	answer, err := c.send(ctx, http.MethodPost, "/v1/holds", hold)
	if err != nil {
		return nil, err
	}
	reply := struct {
		Allowed  bool     `json:"allowed"`
		Replayed bool     `json:"replayed"`
		Hold     HoldItem `json:"hold"`
	}{}
	if err := json.Unmarshal(answer.body, &reply); err != nil {
		return nil, err
	}
	if !reply.Allowed {
		denied := &DeniedError{}
		if err := json.Unmarshal(answer.body, &denied.Decision); err != nil {
			return nil, err
		}
		denied.Decision.RetryAfter, denied.Decision.Problem = answer.retryAfter, answer.body
		return nil, denied
	}
	return &Held{Item: reply.Hold, Replayed: reply.Replayed, client: c, open: reply.Hold.State == "open"}, nil
}

// Capture charges what was used and ends the hold; the rest is given back.
func (h *Held) Capture(ctx context.Context, quantity string) error {
	return h.capture(ctx, map[string]any{"quantity": quantity})
}

// CaptureCall charges what a call of a model cost and ends the hold; the rest is given back.
func (h *Held) CaptureCall(ctx context.Context, call ModelCall) error {
	return h.capture(ctx, map[string]any{"call": call})
}

// CapturePart charges a part; the hold stays open.
func (h *Held) CapturePart(ctx context.Context, quantity string) error {
	return h.capture(ctx, map[string]any{"quantity": quantity, "final": false, "key": NewKey()})
}

func (h *Held) capture(ctx context.Context, body any) error {
	err := h.step(ctx, "capture", body)
	var refused *APIError
	if err != nil && !errors.As(err, &refused) {
		// What was captured is not known: a release could take from what is owed. It expires by itself.
		h.open = false
	}
	return err
}

// Release gives back what is held; after the last capture it does nothing.
func (h *Held) Release(ctx context.Context) error {
	if !h.open {
		return nil
	}
	return h.step(ctx, "release", nil)
}

func (h *Held) step(ctx context.Context, step string, body any) error {
	reply := struct {
		Hold HoldItem `json:"hold"`
	}{}
	err := h.client.Call(ctx, http.MethodPost, "/v1/holds/"+url.PathEscape(h.Item.ID)+"/"+step, body, &reply)
	if err == nil {
		h.Item, h.open = reply.Hold, reply.Hold.State == "open"
	}
	return err
}
