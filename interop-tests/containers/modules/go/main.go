// The Kafka module of Testcontainers for Go, as its users write it: main IMAGE.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/modules/kafka"
	"github.com/twmb/franz-go/pkg/kgo"
)

func main() {
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(image string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	container, err := kafka.Run(ctx, image, kafka.WithClusterID("test-cluster"))
	defer testcontainers.TerminateContainer(container)
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	servers, err := container.Brokers(ctx)
	if err != nil {
		return fmt.Errorf("brokers: %w", err)
	}
	return roundTrip(ctx, servers)
}

func roundTrip(ctx context.Context, servers []string) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(servers...), kgo.ConsumeTopics("records"), kgo.ConsumerGroup("readers"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.AllowAutoTopicCreation())
	if err != nil {
		return err
	}
	defer client.Close()
	for i := range 10 {
		record := &kgo.Record{Topic: "records", Partition: 0, Value: []byte(fmt.Sprint("record ", i))}
		if err := client.ProduceSync(ctx, record).FirstErr(); err != nil {
			return fmt.Errorf("produce: %w", err)
		}
	}
	for got := 0; got < 10; {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return fmt.Errorf("consume: %w", err)
		}
		for _, record := range fetches.Records() {
			if want := fmt.Sprint("record ", got); string(record.Value) != want {
				return fmt.Errorf("consumed %q for %q", record.Value, want)
			}
			got++
		}
	}
	fmt.Println("round trip of 10 records by", servers)
	return nil
}
