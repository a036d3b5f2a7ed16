"""Brokers with SASL listeners beside the plain one that the harness asks whether they live."""

from harness import broker as brokers
from harness.process import free_port

CLASSES = "org.apache.kafka.common.security."
PLAIN = CLASSES + "plain.PlainLoginModule required"
SCRAM = CLASSES + "scram.ScramLoginModule required"
OAUTH = CLASSES + "oauthbearer.OAuthBearerLoginModule required"
VALIDATOR = CLASSES + "oauthbearer.OAuthBearerValidatorCallbackHandler"
ADMIN, ADMIN_PASSWORD = "admin", "admin-secret"
USERS = {"alice": "alice-secret", "bob": "bob's \\ \" secret"}
MECHANISMS = ["OAUTHBEARER", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]


def quoted(text: str) -> str:
    """A JAAS string, in a properties file: each of the two takes backslashes for its own."""
    inside = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + inside.replace("\\", "\\\\") + '"'


def jaas(mechanism: str) -> str:
    if mechanism == "PLAIN":
        users = " ".join(f"user_{name}={quoted(password)}" for name, password in USERS.items())
        return (f'{PLAIN} username="{ADMIN}" password="{ADMIN_PASSWORD}" user_{ADMIN}="{ADMIN_PASSWORD}" {users};')
    if mechanism == "OAUTHBEARER":
        return f'{OAUTH} unsecuredLoginStringClaim_sub="{ADMIN}";'
    return f'{SCRAM} username="{ADMIN}" password="{ADMIN_PASSWORD}";'


def of_listener(name: str, mechanisms=MECHANISMS) -> dict:
    prefix = f"listener.name.{name.lower()}."
    return {f"{prefix}{m.lower()}.sasl.jaas.config": jaas(m) for m in mechanisms} | {
        f"{prefix}sasl.enabled.mechanisms": ",".join(mechanisms)}


class Sasl:
    """A broker with these SASL listeners; `address[name]` is where to connect to."""

    def __init__(self, *names: str, more: dict | None = None, mechanisms=MECHANISMS, new=brokers.new_broker):
        names = names or ("SASL_PLAINTEXT",)
        self.address = {name: ("127.0.0.1", free_port()) for name in names}
        self.broker = new()
        listeners = [self.broker.properties["listeners"]]
        protocols = ["PLAINTEXT:PLAINTEXT"]
        for name, (host, port) in self.address.items():
            listeners.append(f"{name}://{host}:{port}")
            protocols.append(f"{name}:SASL_PLAINTEXT")
            self.broker.properties |= of_listener(name, mechanisms)
        self.broker.properties |= {"listeners": ",".join(listeners), "listener.security.protocol.map": ",".join(protocols),
                                   "delegation.token.secret.key": "a secret of all brokers"} | (more or {})
        # Kafka names its znode's host and port after the plain listener; it is the one among brokers.
        self.plain = (self.broker.host, self.broker.port)

    def bootstrap(self, name: str = "SASL_PLAINTEXT") -> str:
        host, port = self.address[name]
        return f"{host}:{port}"

    def __enter__(self):
        try:
            self.broker.start()
        except BaseException:
            self.broker.destroy()
            raise
        return self

    def __exit__(self, *_):
        self.broker.destroy()
