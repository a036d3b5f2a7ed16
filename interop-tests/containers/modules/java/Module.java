import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.testcontainers.kafka.ConfluentKafkaContainer;
import org.testcontainers.utility.DockerImageName;

/** One of the Kafka containers of Testcontainers, as its users write it: java Module.java KIND IMAGE. */
public class Module {
    public static void main(String[] args) throws Exception {
        DockerImageName image = DockerImageName.parse(args[1]);
        switch (args[0]) {
            case "apache" -> {
                try (var kafka = new org.testcontainers.kafka.KafkaContainer(image.asCompatibleSubstituteFor("apache/kafka"))) {
                    kafka.start();
                    roundTrip(kafka.getBootstrapServers());
                }
            }
            case "confluent" -> {
                try (var kafka = new ConfluentKafkaContainer(image.asCompatibleSubstituteFor("confluentinc/cp-kafka"))) {
                    kafka.start();
                    roundTrip(kafka.getBootstrapServers());
                }
            }
            case "old", "old-kraft" -> {
                @SuppressWarnings("deprecation")
                var kafka = new org.testcontainers.containers.KafkaContainer(image.asCompatibleSubstituteFor("confluentinc/cp-kafka"));
                try (kafka) {
                    if (args[0].equals("old-kraft")) {
                        kafka.withKraft();
                    }
                    kafka.start();
                    roundTrip(kafka.getBootstrapServers());
                }
            }
            default -> throw new IllegalArgumentException(args[0]);
        }
    }

    private static void roundTrip(String servers) throws Exception {
        var strings = "org.apache.kafka.common.serialization.String";
        var producing = new Properties();
        producing.putAll(Map.of("bootstrap.servers", servers, "key.serializer", strings + "Serializer", "value.serializer", strings + "Serializer"));
        var sent = new ArrayList<String>();
        try (var producer = new KafkaProducer<String, String>(producing)) {
            for (int i = 0; i < 10; i++) {
                sent.add("record " + i);
                producer.send(new ProducerRecord<>("records", sent.get(i))).get();
            }
        }
        var consuming = new Properties();
        consuming.putAll(Map.of("bootstrap.servers", servers, "group.id", "readers", "auto.offset.reset", "earliest",
                "key.deserializer", strings + "Deserializer", "value.deserializer", strings + "Deserializer"));
        var got = new ArrayList<String>();
        try (var consumer = new KafkaConsumer<String, String>(consuming)) {
            consumer.subscribe(List.of("records"));
            for (long end = System.nanoTime() + 30_000_000_000L; got.size() < 10 && System.nanoTime() < end;) {
                consumer.poll(Duration.ofMillis(200)).forEach(record -> got.add(record.value()));
            }
        }
        if (!got.equals(sent)) {
            throw new AssertionError("consumed " + got);
        }
        System.out.println("round trip of 10 records by " + servers);
    }
}
