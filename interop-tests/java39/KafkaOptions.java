import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;
import org.apache.kafka.common.config.ConfigDef;

/** Prints Kafka's own options, one line each, with tabs between:
 *  broker or topic, name, type, default, dynamic, validator, and in brackets those of the values that
 *  are tried which it takes. The first two lines are the values: tried on numbers, and on others.
 *  With SHOW in the environment it says on standard error why a value is not taken. */
public class KafkaOptions {
    private static final List<String> NUMBERS = List.of("-2", "-1", "0", "1", "2", "3", "4", "5", "9", "10",
        "11", "14", "17", "18", "22", "23", "100", "1000", "1023", "1024", "5000", "40000", "32767", "32768",
        "2147483647", "2147483648", "9223372036854775807", "0.5", "1.5", "x", "");
    private static final List<String> WORDS = List.of("", "x", "true");

    private static boolean brokerTakes(String name, String value) {
        Properties p = new Properties();
        p.put("zookeeper.connect", "localhost:2181");
        p.put(name, value);
        try {
            kafka.server.KafkaConfig.fromProps(p, false);
            return true;
        } catch (Exception e) {
            if (System.getenv("SHOW") != null)
                System.err.println(name + "=" + value + ": " + e.getMessage());
            return false;
        }
    }

    private static boolean topicTakes(String name, String value) {
        Properties p = new Properties();
        p.put(name, value);
        try {
            org.apache.kafka.storage.internals.log.LogConfig.validate(Map.of(), p, Map.of("segment.bytes", "1000000"), false, true);
            return true;
        } catch (Exception e) {
            return false;
        }
    }

    private static String shown(ConfigDef.ConfigKey key) {
        Object d = key.defaultValue;
        return d == null || d == ConfigDef.NO_DEFAULT_VALUE ? "<null>" : ConfigDef.convertToString(d, key.type);
    }

    private static void print(String kind, ConfigDef def, Map<String, String> dynamic) {
        for (ConfigDef.ConfigKey key : new TreeMap<>(def.configKeys()).values()) {
            StringBuilder taken = new StringBuilder();
            boolean number = switch (key.type) {
                case INT, SHORT, LONG, DOUBLE -> true;
                default -> false;
            };
            for (String value : number ? NUMBERS : WORDS)
                if (kind.equals("broker") ? brokerTakes(key.name, value) : topicTakes(key.name, value))
                    taken.append('[').append(value).append(']');
            System.out.println(String.join("\t", kind, key.name, key.type.toString(), shown(key),
                kind.equals("topic") ? "" : dynamic.getOrDefault(key.name, ""),
                key.validator == null ? "" : key.validator.toString(), taken));
        }
    }

    public static void main(String[] args) {
        System.out.println("numbers\t[" + String.join("][", NUMBERS) + "]");
        System.out.println("others\t[" + String.join("][", WORDS) + "]");
        print("broker", kafka.server.KafkaConfig.configDef(),
            kafka.server.DynamicBrokerConfig$.MODULE$.dynamicConfigUpdateModes());
        print("topic", org.apache.kafka.storage.internals.log.LogConfig.configDefCopy(), Map.of());
    }
}
