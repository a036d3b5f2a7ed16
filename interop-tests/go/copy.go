package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const fatal = 3

func say(words ...any) { fmt.Println(words...) }

func gaveUp(err error) {
	say("fatal", err)
	os.Exit(fatal)
}

// copyFor is what transactions/copier.py is, on a GroupTransactSession: the same arguments, the same words. "offsets" is
// not heard: they go with the end.
func (f *franz) copyFor(args []string) {
	from, to, partitions, group, id := args[0], args[1], int32(number(args[2])), args[3], args[4]
	random := rand.New(rand.NewSource(int64(number(args[5]))))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	session, err := kgo.NewGroupTransactSession(append([]kgo.Opt{
		kgo.TransactionalID(id), kgo.TransactionTimeout(20 * time.Second), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.RequireStableFetchOffsets(), kgo.ConsumerGroup(group), kgo.ConsumeTopics(from),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.Balancers(kgo.RangeBalancer()), // which all clients have
		kgo.SessionTimeout(3 * time.Second), kgo.HeartbeatInterval(heartbeat), kgo.FetchMaxWait(50 * time.Millisecond),
		kgo.RetryBackoffFn(func(int) time.Duration { return 20 * time.Millisecond }), kgo.RequestRetries(10000),
	}, f.options...)...)
	check(err)
	say("ready")
	for ctx.Err() == nil {
		wait, enough := context.WithTimeout(ctx, 100*time.Millisecond)
		fetches := session.PollRecords(wait, 20)
		enough()
		for _, e := range fetches.Errors() {
			if !errors.Is(e.Err, context.DeadlineExceeded) && !errors.Is(e.Err, context.Canceled) {
				say("poll:", e.Err)
			}
		}
		if fetches.NumRecords() > 0 {
			copyOne(session, fetches, to, partitions, random.Intn(10) > 0)
		}
	}
	session.Close()
	say("stopped")
}

func copyOne(session *kgo.GroupTransactSession, fetches kgo.Fetches, to string, partitions int32, commits bool) {
	// What was begun is ended, also when we are to stop.
	ctx := context.Background()
	if err := session.Begin(); err != nil {
		gaveUp(err)
	}
	say("begin")
	ends := map[int32]int64{}
	first := kgo.AbortingFirstErrPromise(session.Client())
	fetches.EachRecord(func(r *kgo.Record) {
		value := r.Value
		if !commits {
			value = append([]byte("no "), value...)
		}
		session.Produce(ctx, &kgo.Record{Topic: to, Partition: r.Partition % partitions, Key: r.Key, Value: value},
			first.Promise())
		ends[r.Partition] = r.Offset + 1
	})
	failed := first.Err() // waits for all of them
	say("sent")
	say("ending")
	committed, err := session.End(ctx, kgo.TransactionEndTry(commits && failed == nil))
	switch {
	case err != nil:
		gaveUp(err)
	case committed:
		var where []string
		for p, end := range ends {
			where = append(where, fmt.Sprintf("%d:%d", p, end))
		}
		say("committed", strings.Join(where, " "))
	case !commits:
		say("aborted on purpose")
	case failed != nil:
		say("aborted", failed)
	default:
		say("aborted for a rebalance")
	}
}
