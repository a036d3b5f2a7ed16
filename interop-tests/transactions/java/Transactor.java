import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.ExecutionException;
import org.apache.kafka.clients.consumer.ConsumerGroupMetadata;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.InvalidProducerEpochException;
import org.apache.kafka.common.errors.ProducerFencedException;
import org.apache.kafka.common.errors.TimeoutException;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** A transactional producer and a reader that do what they are told: see transactors.py. */
public final class Transactor {
    private static KafkaProducer<String, String> producer;

    private static Properties properties(String bootstrap) {
        Properties p = new Properties();
        p.put("bootstrap.servers", bootstrap);
        p.put("reconnect.backoff.ms", "20");
        p.put("reconnect.backoff.max.ms", "200");
        p.put("retry.backoff.ms", "20");
        return p;
    }

    private static void again(Runnable call) {
        while (true) {
            try {
                call.run();
                return;
            } catch (TimeoutException e) {
                System.out.println("again: " + e.getMessage());
            }
        }
    }

    private static String read(String bootstrap, String topic, int partitions, String isolation) {
        Properties p = properties(bootstrap);
        p.put("isolation.level", "read_" + isolation);
        List<String> values = new ArrayList<>();
        try (KafkaConsumer<String, String> c = new KafkaConsumer<>(p, new StringDeserializer(), new StringDeserializer())) {
            List<TopicPartition> all = new ArrayList<>();
            for (int i = 0; i < partitions; i++) {
                all.add(new TopicPartition(topic, i));
            }
            c.assign(all);
            c.seekToBeginning(all);
            for (int ends = 0; ends < partitions;) {
                for (ConsumerRecord<String, String> r : c.poll(Duration.ofMillis(100))) {
                    if (r.value().equals("end")) {
                        ends++;
                    } else {
                        values.add(r.value());
                    }
                }
            }
        }
        return String.join(" ", values);
    }

    private static String told(String bootstrap, String[] w) throws Exception {
        switch (w[0]) {
            case "init":
                Properties p = properties(bootstrap);
                p.put("transactional.id", w[1]);
                p.put("transaction.timeout.ms", w[2]);
                p.put("delivery.timeout.ms", "60000");
                p.put("request.timeout.ms", "5000");
                p.put("max.block.ms", "10000");
                producer = new KafkaProducer<>(p, new StringSerializer(), new StringSerializer());
                again(producer::initTransactions);
                return "";
            case "begin":
                producer.beginTransaction();
                return "";
            case "send":
                return Long.toString(producer.send(new ProducerRecord<>(w[1], Integer.parseInt(w[2]), null, w[3])).get().offset());
            case "offsets":
                Map<TopicPartition, OffsetAndMetadata> at = Map.of(new TopicPartition(w[2], Integer.parseInt(w[3])),
                    new OffsetAndMetadata(Long.parseLong(w[4])));
                again(() -> producer.sendOffsetsToTransaction(at, new ConsumerGroupMetadata(w[1])));
                return "";
            case "commit":
                again(producer::commitTransaction);
                return "";
            case "abort":
                again(producer::abortTransaction);
                return "";
            case "read":
                return read(bootstrap, w[1], Integer.parseInt(w[2]), w[3]);
            default:
                throw new IllegalArgumentException(w[0]);
        }
    }

    private static boolean fenced(Throwable e) {
        for (; e != null; e = e.getCause()) {
            if (e instanceof ProducerFencedException || e instanceof InvalidProducerEpochException) {
                return true;
            }
        }
        return false;
    }

    public static void main(String[] args) throws Exception {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            String answer;
            try {
                answer = "ok " + told(args[0], line.split(" "));
            } catch (ExecutionException e) {
                answer = (fenced(e) ? "fenced " : "error ") + e.getCause();
            } catch (Exception e) {
                answer = (fenced(e) ? "fenced " : "error ") + e + " " + e.getCause();
            }
            System.out.println("< " + answer.replace('\n', ' '));
        }
    }
}
