package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// transactor does what transactions/transactors.py says, by the words there.
type transactor interface {
	begin(id string, timeout time.Duration) error // the producer
	transaction() error
	send(topic string, partition int32, value string) (int64, error)
	offsets(group, topic string, partition int32, offset int64) error
	end(commits bool) error
	read(topic string, partitions int32, committed bool) ([]string, error)
	fenced(err error) bool
}

func transact(library, version, bootstrap string) {
	var t transactor
	if library == "sarama" {
		t = &saramaTransactor{saramaLib: newSarama([]string{bootstrap}, version).(*saramaLib)}
	} else {
		t = &franzTransactor{franz: newFranz([]string{bootstrap}, version).(*franz)}
	}
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		answer, err := told(t, strings.Fields(lines.Text()))
		switch {
		case err == nil:
			say("< ok", answer)
		case t.fenced(err):
			say("< fenced", err)
		default:
			say("< error", err)
		}
	}
}

func told(t transactor, words []string) (string, error) {
	switch words[0] {
	case "init":
		return "", t.begin(words[1], time.Duration(number(words[2]))*time.Millisecond)
	case "begin":
		return "", t.transaction()
	case "send":
		offset, err := t.send(words[1], int32(number(words[2])), words[3])
		return fmt.Sprint(offset), err
	case "offsets":
		return "", t.offsets(words[1], words[2], int32(number(words[3])), int64(number(words[4])))
	case "commit", "abort":
		return "", t.end(words[0] == "commit")
	case "read":
		values, err := t.read(words[1], int32(number(words[2])), words[3] == "committed")
		return strings.Join(values, " "), err
	}
	return "", fmt.Errorf("what is %s?", words[0])
}

// franz-go

type franzTransactor struct {
	*franz
	producer *kgo.Client
	id       string
}

var patient = []kgo.Opt{kgo.RetryBackoffFn(func(int) time.Duration { return 50 * time.Millisecond }), kgo.RequestRetries(10000)}

func (f *franzTransactor) begin(id string, timeout time.Duration) (err error) {
	f.id = id
	f.producer, err = f.client(append(patient, kgo.TransactionalID(id), kgo.TransactionTimeout(timeout),
		kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err == nil {
		_, _, err = f.producer.ProducerID(context.Background())
	}
	return err
}

func (f *franzTransactor) transaction() error { return f.producer.BeginTransaction() }

func (f *franzTransactor) send(topic string, partition int32, value string) (int64, error) {
	r, err := f.producer.ProduceSync(context.Background(),
		&kgo.Record{Topic: topic, Partition: partition, Value: []byte(value)}).First()
	if err != nil {
		return -1, err
	}
	return r.Offset, nil
}

// A GroupTransactSession has this for a member of the group only.
func (f *franzTransactor) offsets(group, topic string, partition int32, offset int64) error {
	ctx := context.Background()
	id, epoch, err := f.producer.ProducerID(ctx)
	if err != nil {
		return err
	}
	add := kmsg.NewPtrAddOffsetsToTxnRequest()
	add.TransactionalID, add.ProducerID, add.ProducerEpoch, add.Group = f.id, id, epoch, group
	added, err := add.RequestWith(ctx, f.producer)
	if err == nil {
		err = kerr.ErrorForCode(added.ErrorCode)
	}
	if err != nil {
		return err
	}
	commit := kmsg.NewPtrTxnOffsetCommitRequest()
	commit.TransactionalID, commit.ProducerID, commit.ProducerEpoch, commit.Group = f.id, id, epoch, group
	p := kmsg.NewTxnOffsetCommitRequestTopicPartition()
	p.Partition, p.Offset = partition, offset
	commit.Topics = []kmsg.TxnOffsetCommitRequestTopic{{Topic: topic, Partitions: []kmsg.TxnOffsetCommitRequestTopicPartition{p}}}
	committed, err := commit.RequestWith(ctx, f.producer)
	if err != nil {
		return err
	}
	return kerr.ErrorForCode(committed.Topics[0].Partitions[0].ErrorCode)
}

func (f *franzTransactor) end(commits bool) error {
	return f.producer.EndTransaction(context.Background(), kgo.TransactionEndTry(commits))
}

func (f *franzTransactor) read(topic string, partitions int32, committed bool) ([]string, error) {
	isolation := kgo.ReadUncommitted()
	if committed {
		isolation = kgo.ReadCommitted()
	}
	offsets := map[int32]kgo.Offset{}
	for p := range partitions {
		offsets[p] = kgo.NewOffset().AtStart()
	}
	client, err := f.client(append(patient, kgo.FetchIsolationLevel(isolation),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: offsets}))...)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	var values []string
	for ends := int32(0); ends < partitions; {
		client.PollFetches(context.Background()).EachRecord(func(r *kgo.Record) {
			if string(r.Value) == "end" {
				ends++
			} else {
				values = append(values, string(r.Value))
			}
		})
	}
	return values, nil
}

func (f *franzTransactor) fenced(err error) bool {
	return errors.Is(err, kerr.ProducerFenced) || errors.Is(err, kerr.InvalidProducerEpoch)
}

// sarama

type saramaTransactor struct {
	*saramaLib
	producer sarama.SyncProducer
}

func (s *saramaTransactor) begin(id string, timeout time.Duration) (err error) {
	c := s.config()
	c.Producer.RequiredAcks = sarama.WaitForAll
	c.Producer.Return.Successes = true
	c.Producer.Idempotent = true
	c.Net.MaxOpenRequests = 1
	c.Producer.Transaction.ID = id
	c.Producer.Transaction.Timeout = timeout
	c.Producer.Partitioner = sarama.NewManualPartitioner
	c.Producer.Retry.Max, c.Producer.Transaction.Retry.Max, c.Metadata.Retry.Max = 300, 300, 300
	s.producer, err = sarama.NewSyncProducer(s.seeds, c)
	return err
}

func (s *saramaTransactor) transaction() error { return s.producer.BeginTxn() }

func (s *saramaTransactor) send(topic string, partition int32, value string) (int64, error) {
	_, offset, err := s.producer.SendMessage(
		&sarama.ProducerMessage{Topic: topic, Partition: partition, Value: sarama.StringEncoder(value)})
	return offset, err
}

func (s *saramaTransactor) offsets(group, topic string, partition int32, offset int64) error {
	return s.producer.AddOffsetsToTxn(map[string][]*sarama.PartitionOffsetMetadata{
		topic: {{Partition: partition, Offset: offset, LeaderEpoch: -1}}}, group)
}

func (s *saramaTransactor) end(commits bool) error {
	if commits {
		return s.producer.CommitTxn()
	}
	return s.producer.AbortTxn()
}

func (s *saramaTransactor) read(topic string, partitions int32, committed bool) ([]string, error) {
	c := s.config()
	c.Consumer.Return.Errors = false
	if committed {
		c.Consumer.IsolationLevel = sarama.ReadCommitted
	}
	consumer, err := sarama.NewConsumer(s.seeds, c)
	if err != nil {
		return nil, err
	}
	defer consumer.Close()
	var values []string
	for p := range partitions {
		reader, err := consumer.ConsumePartition(topic, p, sarama.OffsetOldest)
		if err != nil {
			return nil, err
		}
		for m := range reader.Messages() {
			if string(m.Value) == "end" {
				break
			}
			values = append(values, string(m.Value))
		}
		reader.AsyncClose()
	}
	return values, nil
}

func (s *saramaTransactor) fenced(err error) bool {
	return errors.Is(err, sarama.ErrProducerFenced) || errors.Is(err, sarama.ErrInvalidProducerEpoch) ||
		s.producer != nil && s.producer.TxnStatus()&sarama.ProducerTxnFlagFatalError != 0
}
