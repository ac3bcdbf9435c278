package tollgate

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Rejection is a record that the server refused for good, and why.
type Rejection struct {
	Record       Usage
	Code, Detail string
}

// Batcher takes records and sends them in batches from a goroutine of its own, each until it is counted.
//
// A record gets its key when it is added, so a batch that is sent twice counts once. Add waits while too many are not sent yet:
// nothing is dropped. Close returns when all that was added is on the server's disk. Records that were added and not sent are lost
// if your own process dies; where that matters, add them again from their source with keys of your own.
type Batcher struct {
	client  *Client
	records chan Usage
	done    sync.WaitGroup
	// Counted, Duplicates and Rejected may be read after Close.
	Counted, Duplicates int
	Rejected            []Rejection
}

// NewBatcher sends batches of at most batchMax records, and what there is of one after wait.
func NewBatcher(client *Client, batchMax int, wait time.Duration) *Batcher {
	batcher := &Batcher{client: client, records: make(chan Usage, 10*batchMax)}
	batcher.done.Add(1)
	go batcher.work(batchMax, wait)
	return batcher
}

// Add takes a record and gives its key. It must not be called after Close.
func (b *Batcher) Add(record Usage) string {
	if record.Key == "" {
		record.Key = NewKey()
	}
	b.records <- record
	return record.Key
}

// Close waits until all that was added is counted or rejected.
func (b *Batcher) Close() {
	close(b.records)
	b.done.Wait()
}

func (b *Batcher) work(batchMax int, wait time.Duration) {
	defer b.done.Done()
	for record := range b.records {
		batch := []Usage{record}
		timer := time.NewTimer(wait)
	gather:
		for len(batch) < batchMax {
			select {
			case record, open := <-b.records:
				if !open {
					break gather
				}
				batch = append(batch, record)
			case <-timer.C:
				break gather
			}
		}
		timer.Stop()
		b.send(batch)
	}
}

func (b *Batcher) send(batch []Usage) {
	for {
		recorded, err := b.client.Record(context.Background(), batch)
		if errors.Is(err, ErrUnreachable) {
			// The client has waited for its patience; what was added is sent for as long as this runs.
			continue
		}
		if err != nil {
			for _, record := range batch {
				b.Rejected = append(b.Rejected, Rejection{record, "", err.Error()})
			}
			return
		}
		b.Counted += recorded.Counted
		b.Duplicates += recorded.Duplicates
		for _, result := range recorded.Results {
			if result.Status == "rejected" {
				b.Rejected = append(b.Rejected, Rejection{batch[result.Index], result.Code, result.Detail})
			}
		}
		return
	}
}
