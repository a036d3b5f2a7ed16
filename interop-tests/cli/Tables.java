import org.apache.kafka.common.protocol.ApiKeys;
import org.apache.kafka.common.protocol.Errors;

/** Prints the rows of cli/client_apis.def and cli/exceptions.def as the jar has them. */
public class Tables {
    public static void main(String[] args) {
        for (ApiKeys api : ApiKeys.clientApis()) {
            System.out.println("CLIENT_API(" + api.id + ", " + api.name + ", " + api.oldestVersion() + ", "
                + api.latestVersion() + ")");
        }
        for (Errors error : Errors.values()) {
            if (error.exception() != null) {
                String name = error.exception().getClass().getName().substring("org.apache.kafka.common.".length());
                System.out.println("KAFKA_EXCEPTION(" + error.name() + ", \"" + name + "\")");
            }
        }
    }
}
