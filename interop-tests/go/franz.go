package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kversion"
)

const initProducerID = 22

type franz struct {
	batches bool // idempotence and headers need record batches
	options []kgo.Opt
}

var franzCodecs = map[string]kgo.CompressionCodec{
	"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
	"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
}

func newFranz(seeds []string, version string) library {
	versions := kversion.FromString(version)
	if versions == nil {
		check(fmt.Errorf("franz-go does not know version %s", version))
	}
	_, batches := versions.LookupMaxKeyVersion(initProducerID)
	return &franz{batches, []kgo.Opt{kgo.SeedBrokers(seeds...), kgo.MaxVersions(versions)}}
}

func (f *franz) client(options ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append(append(append(options, f.options...), secured()...), login()...)...)
}

func (f *franz) produce(ctx context.Context, topic, codec string, keys, values []string) ([]record, error) {
	options := []kgo.Opt{kgo.ProducerBatchCompression(franzCodecs[codec])}
	if !f.batches {
		options = append(options, kgo.DisableIdempotentWrite())
	}
	client, err := f.client(options...)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	var sent []*kgo.Record
	for i := range keys {
		r := &kgo.Record{Topic: topic, Key: []byte(keys[i]), Value: []byte(values[i])}
		if f.batches {
			r.Headers = []kgo.RecordHeader{{Key: "number", Value: r.Value}}
		}
		sent = append(sent, r)
	}
	var out []record
	for _, r := range client.ProduceSync(ctx, sent...) {
		if r.Err != nil {
			return nil, r.Err
		}
		out = append(out, recordOf(r.Record))
	}
	return out, nil
}

func recordOf(r *kgo.Record) record {
	return record{r.Partition, r.Offset, string(r.Key), string(r.Value)}
}

// poll goes on until the context ends.
func poll(ctx context.Context, client *kgo.Client, got *gathered) error {
	for ctx.Err() == nil {
		fetches := client.PollFetches(ctx)
		for _, e := range fetches.Errors() {
			if !errors.Is(e.Err, context.Canceled) && !errors.Is(e.Err, context.DeadlineExceeded) {
				return e.Err
			}
		}
		fetches.EachRecord(func(r *kgo.Record) { got.add(recordOf(r)) })
	}
	return nil
}

func (f *franz) consume(ctx context.Context, topic string, partitions int32, rack string, got *gathered) error {
	offsets := map[int32]kgo.Offset{}
	for p := range partitions {
		offsets[p] = kgo.NewOffset().AtStart()
	}
	client, err := f.client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: offsets}), kgo.Rack(rack),
		kgo.RecheckPreferredReplicaInterval(time.Second))
	if err != nil {
		return err
	}
	defer client.Close()
	return poll(ctx, client, got)
}

func (f *franz) member(ctx context.Context, topic, group string, id int, got *gathered) error {
	client, err := f.client(kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.HeartbeatInterval(heartbeat),
		kgo.Balancers(kgo.CooperativeStickyBalancer()), kgo.DisableAutoCommit(),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, partitions map[string][]int32) {
			if len(partitions[topic]) > 0 {
				got.assigned(id)
			}
		}),
		kgo.OnPartitionsRevoked(func(ctx context.Context, client *kgo.Client, _ map[string][]int32) {
			_ = client.CommitUncommittedOffsets(ctx)
		}))
	if err != nil {
		return err
	}
	defer client.Close()
	if err := poll(ctx, client, got); err != nil {
		return err
	}
	return client.CommitUncommittedOffsets(context.Background())
}
