package main

import (
	"context"
	"errors"
	"sync"

	"github.com/IBM/sarama"
)

type saramaLib struct {
	seeds   []string
	version sarama.KafkaVersion
}

func newSarama(seeds []string, version string) library {
	v, err := sarama.ParseKafkaVersion(version)
	check(err)
	return &saramaLib{seeds, v}
}

func (s *saramaLib) config() *sarama.Config {
	c := sarama.NewConfig()
	c.Version = s.version
	c.ApiVersionsRequest = s.version.IsAtLeast(sarama.V0_10_0_0)
	c.Consumer.Offsets.Initial = sarama.OffsetOldest
	c.Consumer.Return.Errors = true
	c.Consumer.Group.Heartbeat.Interval = heartbeat
	return c
}

func (s *saramaLib) produce(_ context.Context, topic, codec string, keys, values []string) ([]record, error) {
	c := s.config()
	batches := s.version.IsAtLeast(sarama.V0_11_0_0)
	c.Producer.RequiredAcks = sarama.WaitForAll
	c.Producer.Return.Successes = true
	if err := c.Producer.Compression.UnmarshalText([]byte(codec)); err != nil {
		return nil, err
	}
	if batches {
		c.Producer.Idempotent = true
		c.Net.MaxOpenRequests = 1
	}
	producer, err := sarama.NewSyncProducer(s.seeds, c)
	if err != nil {
		return nil, err
	}
	defer producer.Close()
	var sent []*sarama.ProducerMessage
	for i := range keys {
		m := &sarama.ProducerMessage{Topic: topic, Key: sarama.StringEncoder(keys[i]), Value: sarama.StringEncoder(values[i])}
		if batches {
			m.Headers = []sarama.RecordHeader{{Key: []byte("number"), Value: []byte(values[i])}}
		}
		sent = append(sent, m)
	}
	if err := producer.SendMessages(sent); err != nil {
		return nil, err
	}
	var out []record
	for i, m := range sent {
		out = append(out, record{m.Partition, m.Offset, keys[i], values[i]})
	}
	return out, nil
}

func messageOf(m *sarama.ConsumerMessage) record {
	return record{m.Partition, m.Offset, string(m.Key), string(m.Value)}
}

func (s *saramaLib) consume(ctx context.Context, topic string, partitions int32, rack string, got *gathered) error {
	c := s.config()
	c.RackID = rack
	c.Consumer.Return.Errors = rack == "" // who reads on and on gets over them
	consumer, err := sarama.NewConsumer(s.seeds, c)
	if err != nil {
		return err
	}
	defer consumer.Close()
	var readers sync.WaitGroup
	errs := make([]error, partitions)
	for p := range partitions {
		reader, err := consumer.ConsumePartition(topic, p, sarama.OffsetOldest)
		if err != nil {
			return err
		}
		readers.Go(func() { errs[p] = read(ctx, reader, got) })
	}
	readers.Wait()
	return errors.Join(errs...)
}

func read(ctx context.Context, reader sarama.PartitionConsumer, got *gathered) error {
	defer reader.AsyncClose()
	for {
		select {
		case m := <-reader.Messages():
			got.add(messageOf(m))
		case err := <-reader.Errors():
			return err
		case <-ctx.Done():
			return nil
		}
	}
}

// member is one of a group; it is also what sarama calls the handler.
type member struct {
	id  int
	got *gathered
}

func (m member) Setup(session sarama.ConsumerGroupSession) error {
	for _, partitions := range session.Claims() {
		if len(partitions) > 0 {
			m.got.assigned(m.id)
		}
	}
	return nil
}

func (member) Cleanup(sarama.ConsumerGroupSession) error { return nil }

func (m member) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for {
		select {
		case message, open := <-claim.Messages():
			if !open {
				return nil
			}
			m.got.add(messageOf(message))
			session.MarkMessage(message, "")
		case <-session.Context().Done():
			return nil
		}
	}
}

func (s *saramaLib) member(ctx context.Context, topic, group string, id int, got *gathered) error {
	c := s.config()
	c.Consumer.Return.Errors = false
	client, err := sarama.NewConsumerGroup(s.seeds, group, c)
	if err != nil {
		return err
	}
	defer client.Close()
	for ctx.Err() == nil {
		if err := client.Consume(ctx, []string{topic}, member{id, got}); err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}
