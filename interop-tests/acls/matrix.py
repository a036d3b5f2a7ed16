"""Every API, as somebody asks who has one right or none: what is asked, the rights, and what of an answer counts.

The APIs are those of broker/api/api.def: test_matrix.py sees to it that none is left out. A request that is allowed is to
fail for another reason where it can (a topic that is not there, an epoch of long ago), so that nothing is changed by it.
"""

import re

from harness import paths
from wire import records

from .client import LITERAL, TYPES, acl

T, NONE, G, X = "t-one", "t-none", "g-one", "x-one"  # the topic is there, the second is not
REFUSED = {29, 30, 31, 53, 54, 65}
TRANSACTIONAL = {"attributes": 1 << 4, "producer_id": 5, "producer_epoch": 0, "base_sequence": 0}
MARKERS = {"producer_id": 5, "producer_epoch": 0, "transaction_result": False, "coordinator_epoch": 0,
           "topics": [{"name": NONE, "partition_indexes": [0, 1]}]}
STATE = {"topic_name": NONE, "partition_states": [{"partition_index": 0}]}


def produce(topic: str, batch: dict, transactional_id=None, acks: int = 1) -> dict:
    return {"transactional_id": transactional_id, "acks": acks, "timeout_ms": 1000, "topic_data": [
        {"name": n, "partition_data": [{"index": 7, "records": records.batch(batch)}, {"index": 8, "records": records.batch(batch)}]}
        for n in ([topic] if isinstance(topic, str) else topic)]}


def fetch(topics: list, **more) -> dict:
    return {"max_wait_ms": 0, "min_bytes": 0, "isolation_level": 0, "session_id": 0, "session_epoch": -1, "topics": [
        {**t, "partitions": [{"partition": p, "fetch_offset": 0, "partition_max_bytes": 1000} for p in (0, 9)]} for t in topics], **more}


def partitions(field: str = "partition_index", **more) -> list:
    return [{field: p, **more} for p in (0, 9)]


def requests(topic_id: bytes) -> dict:
    """By a name that begins with the API's: (version, values)."""
    two = [{"name": n, "partitions": partitions()} for n in (T, NONE)]
    commit = [{"name": n, "partitions": partitions(committed_offset=5, committed_metadata="")} for n in (T, NONE)]
    indexes = [{"name": n, "partition_indexes": [0, 9]} for n in (T, NONE)]
    member = {"group_id": G, "generation_id": 5, "member_id": "m"}
    owner = {"transactional_id": X, "producer_id": 5, "producer_epoch": 0}
    config = [{"resource_type": 2, "resource_name": T}, {"resource_type": 4, "resource_name": "0"}, {"resource_type": 2, "resource_name": NONE}]
    alter = [{**c, "configs": [{"name": "no.such", "value": "1"}]} for c in config]
    creation = [{"name": n, "num_partitions": 1, "replication_factor": 1} for n in ("t-one", "t-none")]
    return {
        "Produce": (9, produce([T, NONE], {})), "Produce v3": (3, produce([T, NONE], {})),
        "Produce of a transaction": (9, produce([T, NONE], TRANSACTIONAL, X)),
        "Produce of a transaction without an id": (9, produce(T, TRANSACTIONAL)),
        "Produce with an id, of no transaction": (9, produce(T, {}, X)),
        "Fetch": (11, fetch([{"topic": T}, {"topic": NONE}], session_epoch=-1)),
        "Fetch v4": (4, {k: v for k, v in fetch([{"topic": T}, {"topic": NONE}]).items() if not k.startswith("session")}),
        "Fetch by id": (13, fetch([{"topic_id": topic_id}, {"topic_id": b"\7" * 16}])),
        "Fetch of a follower": (11, fetch([{"topic": T}, {"topic": NONE}], replica_id=77)),
        "ListOffsets": (6, {"topics": [{"name": n, "partitions": partitions(timestamp=-1)} for n in (T, NONE)]}),
        "ListOffsets v0": (0, {"topics": [{"name": n, "partitions": partitions(timestamp=-1)} for n in (T, NONE)]}),
        "Metadata": (12, {"topics": [{"name": T}, {"name": NONE}], "allow_auto_topic_creation": False}),
        "Metadata v1": (1, {"topics": [{"name": T}]}),
        "Metadata by id": (12, {"topics": [{"name": None, "topic_id": topic_id}, {"name": None, "topic_id": b"\7" * 16}]}),
        "Metadata of all": (12, {"topics": None}),
        "Metadata with operations": (8, {"topics": [{"name": T}, {"name": NONE}], "allow_auto_topic_creation": False,
                                         "include_topic_authorized_operations": True, "include_cluster_authorized_operations": True}),
        "LeaderAndIsr": (4, {"topic_states": [STATE]}), "LeaderAndIsr v7": (7, {"topic_states": [STATE]}),
        "StopReplica": (3, {"topic_states": [STATE]}), "StopReplica v1": (1, {"topics": [{"name": NONE, "partition_indexes": [0]}]}),
        "UpdateMetadata": (6, {}), "ControlledShutdown": (3, {"broker_id": 77, "broker_epoch": 0}),
        "OffsetCommit": (8, {"group_id": G, "generation_id_or_member_epoch": 5, "member_id": "m", "topics": commit}),
        "OffsetCommit v0": (0, {"group_id": G, "topics": [{"name": NONE, "partitions": partitions(committed_offset=5, committed_metadata="")}]}),
        "OffsetFetch": (8, {"groups": [{"group_id": g, "topics": indexes} for g in (G, "g-two")]}),
        "OffsetFetch of all": (8, {"groups": [{"group_id": G, "topics": None}]}),
        "OffsetFetch v7 of all": (7, {"group_id": G, "topics": None}),
        "OffsetFetch v5": (5, {"group_id": G, "topics": indexes}),
        "OffsetFetch v0": (0, {"group_id": G, "topics": indexes}),
        "FindCoordinator of a group": (3, {"key": G, "key_type": 0}), "FindCoordinator of an id": (3, {"key": X, "key_type": 1}),
        "FindCoordinator of groups": (4, {"coordinator_keys": [G, "g-two"], "key_type": 0}),
        "FindCoordinator of ids": (4, {"coordinator_keys": [X, "x-two"], "key_type": 1}),
        "FindCoordinator v0": (0, {"key": G}),
        "JoinGroup": (7, {"group_id": G, "session_timeout_ms": 1, "rebalance_timeout_ms": 1, "member_id": "m", "protocol_type": "consumer",
                          "protocols": [{"name": "range", "metadata": b""}]}),
        "JoinGroup v0": (0, {"group_id": G, "session_timeout_ms": 1, "member_id": "m", "protocol_type": "consumer"}),
        "Heartbeat": (4, member), "LeaveGroup": (4, {"group_id": G, "members": [{"member_id": "m"}]}),
        "LeaveGroup v1": (1, {"group_id": G, "member_id": "m"}),
        "SyncGroup": (5, {**member, "protocol_type": "consumer", "protocol_name": "range"}), "SyncGroup v0": (0, member),
        "DescribeGroups": (5, {"groups": [G, "g-two"], "include_authorized_operations": True}),
        "DescribeGroups v0": (0, {"groups": [G]}),
        "ListGroups": (4, {}), "ListGroups v0": (0, {}),
        "CreateTopics": (7, {"topics": creation, "timeout_ms": 1000, "validate_only": True}),
        "CreateTopics v1": (1, {"topics": creation, "timeout_ms": 1000, "validate_only": True}),
        "DeleteTopics": (6, {"topics": [{"name": NONE}, {"name": None, "topic_id": b"\7" * 16}], "timeout_ms": 1000}),
        "DeleteTopics v1": (1, {"topic_names": [NONE], "timeout_ms": 1000}),
        "DeleteRecords": (2, {"topics": [{"name": n, "partitions": [{"partition_index": 9, "offset": 0}]} for n in (T, NONE)], "timeout_ms": 1000}),
        "InitProducerId": (4, {"transactional_id": None, "transaction_timeout_ms": 1000, "producer_id": 5, "producer_epoch": -1}),
        "InitProducerId with an id": (4, {"transactional_id": X, "transaction_timeout_ms": 1000, "producer_id": 5, "producer_epoch": -1}),
        "OffsetForLeaderEpoch": (3, {"replica_id": -1, "topics": [{"topic": n, "partitions": partitions("partition", leader_epoch=0)} for n in (T, NONE)]}),
        "AddPartitionsToTxn": (3, {"v3_and_below_transactional_id": X, "v3_and_below_producer_id": 5, "v3_and_below_producer_epoch": 0,
                                   "v3_and_below_topics": [{"name": T, "partitions": [0]}, {"name": NONE, "partitions": [0, 1]}]}),
        "AddPartitionsToTxn of brokers": (4, {"transactions": [{**owner, "verify_only": True, "topics": [{"name": T, "partitions": [0]}]}]}),
        "AddOffsetsToTxn": (3, {**owner, "group_id": G}), "EndTxn": (3, {**owner, "committed": True}),
        "WriteTxnMarkers": (1, {"markers": [MARKERS]}), "WriteTxnMarkers v0": (0, {"markers": [MARKERS, MARKERS | {"producer_id": 6}]}),
        "TxnOffsetCommit": (3, {**owner, "group_id": G, "generation_id": 5, "member_id": "m", "topics": commit}),
        "DescribeAcls": (2, {"resource_type_filter": 2, "resource_name_filter": "nobody's", "pattern_type_filter": 1, "operation": 1, "permission_type": 1}),
        "CreateAcls": (2, {"creations": [acl("Topic", "", "Read"), acl("Topic", "", "Write")]}),
        "DeleteAcls": (2, {"filters": [{"resource_type_filter": 2, "resource_name_filter": "nobody's", "pattern_type_filter": 3, "operation": 1, "permission_type": 1}]}),
        "DescribeConfigs": (4, {"resources": [{**c, "configuration_keys": ["segment.bytes"]} for c in config]}),
        "DescribeConfigs v0": (0, {"resources": [{**c, "configuration_keys": ["segment.bytes"]} for c in config]}),
        "AlterConfigs": (2, {"resources": alter, "validate_only": True}),
        "IncrementalAlterConfigs": (1, {"resources": alter, "validate_only": True}),
        "AlterReplicaLogDirs": (2, {"dirs": [{"path": p, "topics": [{"name": T, "partitions": [5]}, {"name": NONE, "partitions": [0, 1]}]} for p in ("/nowhere", "/no")]}),
        "DescribeLogDirs": (4, {"topics": [{"topic": NONE, "partitions": [0]}]}), "DescribeLogDirs v1": (1, {"topics": []}),
        "CreatePartitions": (3, {"topics": [{"name": n, "count": 1, "assignments": None} for n in (T, NONE)], "timeout_ms": 1000, "validate_only": True}),
        "DeleteGroups": (2, {"groups_names": ["g-none", "g-two"]}),
        "ElectLeaders": (2, {"election_type": 0, "topic_partitions": [{"topic": NONE, "partitions": [0, 1]}], "timeout_ms": 1000}),
        "ElectLeaders v0": (0, {"topic_partitions": [{"topic": NONE, "partitions": [0]}], "timeout_ms": 1000}),
        "AlterPartitionReassignments": (0, {"topics": [{"name": NONE, "partitions": [{"partition_index": 0, "replicas": None}]}]}),
        "ListPartitionReassignments": (0, {"topics": [{"name": NONE, "partition_indexes": [0]}]}),
        "OffsetDelete": (0, {"group_id": "g-none", "topics": two}),
        "DescribeClientQuotas": (1, {"components": [{"entity_type": "user", "match_type": 0, "match": "nobody"}], "strict": True}),
        "AlterClientQuotas": (1, {"validate_only": True, "entries": [
            {"entity": [{"entity_type": "user", "entity_name": n}], "ops": [{"key": "no.such", "value": 1.0, "remove": False}]} for n in ("u", None)]}),
        "DescribeUserScramCredentials": (0, {"users": [{"name": "nobody"}]}),
        "AlterUserScramCredentials": (0, {"deletions": [{"name": "nobody", "mechanism": 1}, {"name": "nobody2", "mechanism": 2}]}),
        "DescribeDelegationToken": (3, {"owners": [{"principal_type": "User", "principal_name": "zed"}]}),
        "CreateDelegationToken": (3, {"owner_principal_type": "User", "owner_principal_name": "zed", "renewers": [], "max_lifetime_ms": -1}),
        "AlterPartition": (1, {"broker_id": 0, "broker_epoch": 0}), "DescribeCluster": (0, {"include_cluster_authorized_operations": True}),
        "DescribeProducers": (0, {"topics": [{"name": n, "partition_indexes": [0, 9]} for n in (T, NONE)]}),
        "DescribeTransactions": (0, {"transactional_ids": [X, "x-two"]}), "ListTransactions": (0, {}),
        "AllocateProducerIds": (0, {"broker_id": 0, "broker_epoch": 0}),
    }


def rights() -> dict:
    """By name: the ACLs of one right; "nothing" is none."""
    operations = {"Topic": "Read Write Create Delete Alter Describe DescribeConfigs AlterConfigs", "Group": "Read Delete Describe",
                  "Cluster": "Create Alter Describe ClusterAction DescribeConfigs AlterConfigs IdempotentWrite",
                  "TransactionalId": "Write Describe", "DelegationToken": "Describe", "User": "CreateTokens DescribeTokens"}
    names = {"Topic": [T, NONE], "Group": [G, "g-none"], "Cluster": ["kafka-cluster"], "TransactionalId": [X],
             "DelegationToken": ["none"], "User": ["User:zed"]}
    all_of = {t: [*operations[t].split(), "All"] for t in names}
    return ({"nothing": []} | {f"{o} {t}": [acl(t, n, o) for n in names[t]] for t in names for o in all_of[t]}
            | {f"{o} {t}, of one": [acl(t, names[t][0], o)] for t in ("Topic", "Group") for o in all_of[t]})


def served() -> dict:
    """Names by keys of the APIs that need something, as broker/api/api.def has them."""
    rows = re.findall(r"^API\((\d+), (\w+), [^,]*, (.*)\)$", (paths.ROOT / "broker/api/api.def").read_text(), re.MULTILINE)
    return {int(key): needs for key, _, needs in rows}


# ---- what counts ----

NAMES = {"name", "topic", "topic_name", "group_id", "transactional_id", "key", "resource_name", "resource_type", "index",
         "partition_index", "partition", "partition_id", "user", "entity_name"}


def outcome(answer, key: str = ""):
    """What of an answer says who may do what: names, refusals, operations; of other errors that they are none."""
    if isinstance(answer, list):
        return sorted((outcome(a, key) for a in answer), key=repr)
    if isinstance(answer, dict):
        found = {k: outcome(v, k) for k, v in answer.items()}
        if found.get("error_code") == 29:
            found.pop("topic_config_error_code", None)  # of a topic that is not made
        return {k: v for k, v in found.items() if v is not None and v != [] and v != {}}
    if key.endswith("error_code"):
        return answer if answer in REFUSED else "may"
    if key.endswith("authorized_operations"):
        return answer
    return answer if key in NAMES else None


def whole(answer, key: str = ""):
    """All of an answer that is the same in each run."""
    if isinstance(answer, list):
        return sorted((whole(a, key) for a in answer), key=repr)
    if isinstance(answer, dict):
        return {k: whole(v, k) for k, v in answer.items() if k not in ("throttle_time_ms", "cluster_id", "controller_id", "brokers", "port", "host")}
    if isinstance(answer, bytes):
        return "id" if len(answer) == 16 and any(answer) else answer.hex()
    return answer


assert LITERAL and TYPES
