import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Random;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.AuthorizationException;
import org.apache.kafka.common.errors.InvalidProducerEpochException;
import org.apache.kafka.common.errors.OutOfOrderSequenceException;
import org.apache.kafka.common.errors.ProducerFencedException;
import org.apache.kafka.common.errors.TimeoutException;
import org.apache.kafka.common.errors.UnsupportedVersionException;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** What copier.py is, on the Java client: the same arguments, the same words. */
public final class Copier {
    private static volatile boolean stop;

    private static void say(String words) {
        System.out.println(words);
        System.out.flush();
    }

    /** What timed out is repeated until it works. */
    private static void again(Runnable call) {
        while (true) {
            try {
                call.run();
                return;
            } catch (TimeoutException e) {
                say("again: " + e.getMessage());
            }
        }
    }

    private static void backToCommitted(KafkaConsumer<String, String> consumer) {
        while (!stop) {
            try {
                Map<TopicPartition, OffsetAndMetadata> committed =
                    consumer.committed(consumer.assignment(), Duration.ofSeconds(1));
                committed.forEach((p, at) -> consumer.seek(p, at == null ? 0 : at.offset()));
                return;
            } catch (TimeoutException | IllegalStateException e) {
                say("not back yet: " + e.getMessage());
                consumer.poll(Duration.ZERO); // its partitions may be another's by now
            }
        }
    }

    private static void copy(KafkaProducer<String, String> producer, KafkaConsumer<String, String> consumer,
            Iterable<ConsumerRecord<String, String>> records, String to, int partitions, boolean commits) {
        Map<TopicPartition, OffsetAndMetadata> ends = new HashMap<>();
        producer.beginTransaction();
        say("begin");
        for (ConsumerRecord<String, String> r : records) {
            producer.send(new ProducerRecord<>(to, r.partition() % partitions, r.key(),
                commits ? r.value() : "no " + r.value()));
            ends.put(new TopicPartition(r.topic(), r.partition()), new OffsetAndMetadata(r.offset() + 1));
        }
        say("sent");
        again(() -> producer.sendOffsetsToTransaction(ends, consumer.groupMetadata()));
        say("offsets");
        if (!commits) {
            producer.flush(); // they are to be there, and be hidden
            say("ending with an abort");
            again(producer::abortTransaction);
            say("aborted on purpose");
            backToCommitted(consumer);
            return;
        }
        say("ending");
        again(producer::commitTransaction);
        StringBuilder where = new StringBuilder("committed");
        ends.forEach((p, at) -> where.append(" ").append(p.partition()).append(":").append(at.offset()));
        say(where.toString());
    }

    private static void run(String[] args) {
        String bootstrap = args[0], from = args[1], to = args[2], group = args[4];
        int partitions = Integer.parseInt(args[3]);
        Random random = new Random(Long.parseLong(args[6]));
        Properties p = new Properties();
        p.put("bootstrap.servers", bootstrap);
        p.put("reconnect.backoff.ms", "20");
        p.put("reconnect.backoff.max.ms", "200");
        p.put("retry.backoff.ms", "20");
        Properties produces = new Properties();
        produces.putAll(p);
        produces.put("transactional.id", args[5]);
        produces.put("transaction.timeout.ms", "20000");
        produces.put("max.block.ms", "5000");
        KafkaProducer<String, String> producer =
            new KafkaProducer<>(produces, new StringSerializer(), new StringSerializer());
        again(producer::initTransactions);
        say("ready");
        Properties consumes = new Properties();
        consumes.putAll(p);
        consumes.put("group.id", group);
        consumes.put("enable.auto.commit", "false");
        consumes.put("auto.offset.reset", "earliest");
        consumes.put("isolation.level", "read_committed");
        consumes.put("session.timeout.ms", "3000");
        consumes.put("heartbeat.interval.ms", "300");
        consumes.put("max.poll.records", "20");
        consumes.put("fetch.max.wait.ms", "50");
        KafkaConsumer<String, String> consumer =
            new KafkaConsumer<>(consumes, new StringDeserializer(), new StringDeserializer());
        consumer.subscribe(List.of(from));
        while (!stop) {
            ConsumerRecords<String, String> records = consumer.poll(Duration.ofMillis(100));
            if (records.isEmpty()) {
                continue;
            }
            try {
                copy(producer, consumer, records, to, partitions, random.nextInt(10) > 0);
            } catch (ProducerFencedException | InvalidProducerEpochException | OutOfOrderSequenceException
                    | AuthorizationException | UnsupportedVersionException e) {
                throw e;
            } catch (KafkaException e) {
                again(producer::abortTransaction);
                say("aborted " + e.getClass().getSimpleName());
                backToCommitted(consumer);
            }
        }
        consumer.close(Duration.ofSeconds(5));
        producer.close(Duration.ofSeconds(5));
        say("stopped");
    }

    public static void main(String[] args) {
        Thread main = Thread.currentThread();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            stop = true;
            try {
                main.join(20000);
            } catch (InterruptedException e) {
                return;
            }
            Runtime.getRuntime().halt(0);
        }));
        try {
            run(args);
        } catch (KafkaException e) {
            say("fatal " + e.getClass().getSimpleName() + " " + e.getMessage());
            Runtime.getRuntime().halt(3);
        }
    }
}
