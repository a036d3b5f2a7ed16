// A client on franz-go or sarama, driven by test_go.py.
//
//	client franz|sarama VERSION produce BROKERS TOPIC FIRST COUNT CODEC   idempotent where VERSION knows it
//	client franz|sarama VERSION consume BROKERS TOPIC PARTITIONS COUNT [RACK]   assigned from the beginning
//	client franz|sarama VERSION group   BROKERS TOPIC GROUP COUNT         two members, from the earliest; commits
//	client franz        VERSION copy    BROKERS FROM TO PARTITIONS-OF-TO GROUP TRANSACTIONAL-ID SEED   see copy.go
//	client franz|sarama VERSION transact BROKERS                          does what is said on stdin: see transact.go
//
// With a RACK records are printed as they come, and after a second the client asks anew from whom to read, if it ever does.
// VERSION is the newest Kafka whose requests are used, as 0.11.0.0 or 3.6.0. Values are the numbers FIRST …
// FIRST+COUNT-1. Prints "partition offset key value" for each record acknowledged or consumed. Exit status 0 when
// COUNT was reached. The members of a group go on until they have COUNT records together and have had a partition each.
package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	deadline  = 60 * time.Second
	members   = 2
	heartbeat = 300 * time.Millisecond
)

type record struct {
	partition int32
	offset    int64
	key       string
	value     string
}

func (r record) print() { fmt.Println(r.partition, r.offset, r.key, r.value) }

// library is what both libraries can do.
type library interface {
	produce(ctx context.Context, topic, codec string, keys, values []string) ([]record, error)
	consume(ctx context.Context, topic string, partitions int32, rack string, got *gathered) error
	member(ctx context.Context, topic, group string, id int, got *gathered) error
}

// gathered collects records until there are enough, and every member has had its share.
type gathered struct {
	mu      sync.Mutex
	records []record
	want    int
	idle    map[int]bool
	enough  context.CancelFunc
	atOnce  bool // printed when it comes
}

func (g *gathered) add(r record) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.records = append(g.records, r)
	if g.atOnce {
		r.print()
	}
	g.look()
}

func (g *gathered) assigned(member int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.idle, member)
	g.look()
}

func (g *gathered) look() {
	if len(g.records) >= g.want && len(g.idle) == 0 {
		g.enough()
	}
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	check(err)
	return n
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
}

func libraryNamed(name, version, brokers string) library {
	seeds := strings.Split(brokers, ",")
	if name == "sarama" {
		return newSarama(seeds, version)
	}
	return newFranz(seeds, version)
}

func produce(ctx context.Context, lib library, topic, codec string, first, count int) []record {
	var keys, values []string
	for i := first; i < first+count; i++ {
		keys = append(keys, "k"+strconv.Itoa(i))
		values = append(values, strconv.Itoa(i))
	}
	records, err := lib.produce(ctx, topic, codec, keys, values)
	check(err)
	return records
}

func runGroup(ctx context.Context, lib library, topic, group string, got *gathered) error {
	errs := make(chan error, members)
	for id := range members {
		go func() { errs <- lib.member(ctx, topic, group, id, got) }()
	}
	var first error
	for range members {
		if err := <-errs; err != nil && first == nil {
			first = err
		}
	}
	return first
}

func main() {
	if len(os.Args) == 11 && os.Args[3] == "copy" {
		newFranz(strings.Split(os.Args[4], ","), os.Args[2]).(*franz).copyFor(os.Args[5:])
		return
	}
	if len(os.Args) == 5 && os.Args[3] == "transact" {
		transact(os.Args[1], os.Args[2], os.Args[4])
		return
	}
	if len(os.Args) != 8 && len(os.Args) != 9 {
		check(fmt.Errorf("see the head of main.go"))
	}
	args := os.Args[1:]
	lib, mode, topic := libraryNamed(args[0], args[1], args[3]), args[2], args[4]
	ctx, enough := context.WithTimeout(context.Background(), deadline)
	got := &gathered{want: number(args[6]), idle: map[int]bool{}, enough: enough}
	switch mode {
	case "produce":
		got.records = produce(ctx, lib, topic, args[7], number(args[5]), got.want)
	case "consume":
		rack := ""
		if len(args) > 7 {
			rack, got.atOnce = args[7], true
		}
		check(lib.consume(ctx, topic, int32(number(args[5])), rack, got))
	case "group":
		for id := range members {
			got.idle[id] = true
		}
		check(runGroup(ctx, lib, topic, args[5], got))
	}
	if !got.atOnce {
		for _, r := range got.records {
			r.print()
		}
	}
	if len(got.records) != got.want || len(got.idle) > 0 {
		check(fmt.Errorf("%d records of %d; %d members without a partition", len(got.records), got.want, len(got.idle)))
	}
}
