"""A client of one connection that has logged in with PLAIN, and brokers with an authorizer to ask."""

import struct

from harness import broker as brokers
from harness.process import free_port
from wire import schema
from wire.player import APIS, Connection

AUTHORIZER = "kafka.security.authorizer.AclAuthorizer"
USERS = ("alice", "bob", "root")
TYPES = {"Topic": 2, "Group": 3, "Cluster": 4, "TransactionalId": 5, "DelegationToken": 6, "User": 7}
OPERATIONS = {"All": 2, "Read": 3, "Write": 4, "Create": 5, "Delete": 6, "Alter": 7, "Describe": 8, "ClusterAction": 9,
              "DescribeConfigs": 10, "AlterConfigs": 11, "IdempotentWrite": 12, "CreateTokens": 13, "DescribeTokens": 14}
ANY, MATCH, LITERAL, PREFIXED = 1, 2, 3, 4
DENY, ALLOW = 2, 3


def with_authorizer(overrides: dict | None = None, on=None, kind: str | None = None, place=None):
    """A broker whose PLAINTEXT listener is for super users (User:ANONYMOUS), and that has one with SASL for all others."""
    jaas = " ".join(f'user_{u}="{u}-secret"' for u in USERS)
    b = brokers.KINDS[kind or brokers.kind_under_test()]({
        "authorizer.class.name": AUTHORIZER,
        "super.users": "User:ANONYMOUS;User:root",
        "inter.broker.listener.name": "PLAINTEXT",
        "delegation.token.secret.key": "of all brokers",
        "sasl.enabled.mechanisms": "PLAIN",
        "listener.name.sasl_plaintext.plain.sasl.jaas.config":
            f"org.apache.kafka.common.security.plain.PlainLoginModule required {jaas};",
        **(overrides or {}),
    }, on, place)
    b.sasl_port = free_port()
    b.properties["listeners"] += f",SASL_PLAINTEXT://127.0.0.1:{b.sasl_port}"
    b.sasl_bootstrap = f"127.0.0.1:{b.sasl_port}"
    return b


class Client:
    def __init__(self, port: int, user: str | None = None, timeout_s: float = 20, host: str = "127.0.0.1"):
        self.connection, self.timeout_s, self.correlation = Connection(host, port), timeout_s, 0
        if user:
            assert self.call("SaslHandshake", 1, {"mechanism": "PLAIN"})["error_code"] == 0
            answer = self.call("SaslAuthenticate", 1, {"auth_bytes": f"\0{user}\0{user}-secret".encode()})
            assert answer["error_code"] == 0, answer

    def send(self, name: str, version: int, values: dict) -> None:
        api = APIS[name]
        self.correlation += 1
        frame = schema.encode_header(api.key, version, self.correlation, "acls", version in api.flexible) \
            + schema.encode_body(api, version, values)
        self.connection.send(struct.pack(">i", len(frame)) + frame)

    def call(self, name: str, version: int, values: dict) -> dict:
        self.send(name, version, values)
        return schema.decode_response(APIS[name], version, self.connection.frame(self.timeout_s))[1]

    def close(self) -> None:
        self.connection.close()

    # ---- ACLs ----

    def add_acls(self, *acls: dict) -> list:
        return self.call("CreateAcls", 3, {"creations": list(acls)})["results"]

    def remove_acls(self, **filter_) -> list:
        return self.call("DeleteAcls", 3, {"filters": [acl_filter(**filter_)]})["filter_results"][0]["matching_acls"]

    def acls(self, **filter_) -> set:
        """(type, pattern, name, principal, host, operation, permission)"""
        answer = self.call("DescribeAcls", 3, acl_filter(**filter_))
        assert answer["error_code"] == 0, answer
        return {(r["resource_type"], r["pattern_type"], r["resource_name"], a["principal"], a["host"], a["operation"],
                 a["permission_type"]) for r in answer["resources"] for a in r["acls"]}


def acl(type_: str, name: str, operation: str, principal: str = "User:alice", permission: int = ALLOW, host: str = "*",
        pattern: int = LITERAL) -> dict:
    return {"resource_type": TYPES[type_], "resource_name": name, "resource_pattern_type": pattern, "principal": principal,
            "host": host, "operation": OPERATIONS[operation], "permission_type": permission}


def acl_filter(type_: int = 1, name=None, pattern: int = ANY, principal=None, host=None, operation: int = 1,
               permission: int = 1) -> dict:
    return {"resource_type_filter": type_, "resource_name_filter": name, "pattern_type_filter": pattern,
            "principal_filter": principal, "host_filter": host, "operation": operation, "permission_type": permission}
