"""Settings of SASL that stop the start: one sentence each, which names the option and never a secret."""

import json

import pytest

from harness import broker as brokers
from harness.process import free_port

from start.test_refusals import refused

from .settings import OAUTH, PLAIN, SCRAM, VALIDATOR

pytestmark = [pytest.mark.once, pytest.mark.skipif(brokers.kind_under_test() != "ottla", reason="skipped, because it is about Ottla")]
JAAS = "listener.name.s.plain.sasl.jaas.config"
ALLOWED = "it must be PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER, on listener S"


def wrong(cwd, sentence: str, host: str = "127.0.0.1", **options) -> None:
    """`options` with _ for . ; a listener S with PLAIN and a sound entry, over which they are set."""
    base = {"listeners": f"P://127.0.0.1:{free_port()},S://{host}:{free_port()}",
            "listener.security.protocol.map": "P:PLAINTEXT,S:SASL_PLAINTEXT", "inter.broker.listener.name": "P",
            "sasl.enabled.mechanisms": "PLAIN", JAAS: f'{PLAIN} user_a="planted";'}
    refused(cwd, base | {k.replace("__", "-").replace("_", "."): v for k, v in options.items()}, sentence)


def test_mechanisms(tmp_path):
    wrong(tmp_path, rf"option sasl.enabled.mechanisms: GSSAPI \(Kerberos, the default\) is not built; {ALLOWED}", sasl_enabled_mechanisms="GSSAPI")
    wrong(tmp_path, f"option sasl.enabled.mechanisms: plain is not a mechanism; {ALLOWED}", sasl_enabled_mechanisms="plain")
    wrong(tmp_path, f"option sasl.enabled.mechanisms: SCRAM is not a mechanism; {ALLOWED}", sasl_enabled_mechanisms="PLAIN,SCRAM")
    wrong(tmp_path, "option sasl.enabled.mechanisms: listener S needs at least one", listener_name_s_sasl_enabled_mechanisms="")


def test_no_entry(tmp_path):
    wrong(tmp_path, r"option listener.name.s.scram-sha-256.sasl.jaas.config: it is needed for SCRAM-SHA-256 on listener S \(a general "
                    r"sasl.jaas.config and Java's JAAS file are not read\)", sasl_enabled_mechanisms="PLAIN,SCRAM-SHA-256")
    wrong(tmp_path, "option listener.name.s.oauthbearer.sasl.jaas.config: it is needed .*", sasl_enabled_mechanisms="OAUTHBEARER",
          sasl_jaas_config=f"{OAUTH};")


@pytest.mark.parametrize("entry, words", [
    (" ", "JAAS config property does not contain any login modules"),
    (f'{PLAIN} password="planted"', "JAAS config entry not terminated by semi-colon"),
    (f'{PLAIN} password="planted" x;', "Value not specified for key 'x' in JAAS config"),
    (PLAIN.replace("required", "maybe") + ";", "Invalid login module control flag 'maybe' in JAAS config"),
    (f"{PLAIN};{PLAIN};", "JAAS config property contains 2 login modules, should be 1 module"),
    ("com.sun.security.auth.module.JndiLoginModule required;", "login module com.sun.security.auth.module.JndiLoginModule is not known; .*"),
    (f"{SCRAM};", "PLAIN needs PlainLoginModule, not ScramLoginModule"),
])
def test_broken_entry(tmp_path, entry, words):
    wrong(tmp_path, f"option {JAAS}: {words}", **{JAAS: entry})


def test_classes(tmp_path):
    for option in ("sasl.server.callback.handler.class", "sasl.login.callback.handler.class", "sasl.login.class"):
        wrong(tmp_path, f"option {option}: class com.example.Mine of PLAIN on listener S is not known, and Java classes cannot be loaded; "
                        "remove the option", **{f"listener.name.s.plain.{option}": "com.example.Mine"})
    wrong(tmp_path, "option sasl.client.callback.handler.class: Java classes cannot be loaded; remove the option",
          sasl_client_callback_handler_class="com.example.Mine")


OAUTHBEARER = {"sasl_enabled_mechanisms": "OAUTHBEARER", "listener_name_s_oauthbearer_sasl_jaas_config": f"{OAUTH};"}


def test_tokens_without_keys(tmp_path):
    wrong(tmp_path, "option sasl.oauthbearer.jwks.endpoint.url: it is needed on listener S; without keys no token could be verified",
          sasl_server_callback_handler_class=VALIDATOR, **OAUTHBEARER)
    wrong(tmp_path, "option sasl.oauthbearer.jwks.endpoint.url: the keys of tokens cannot be read: DIR/none: .*",
          sasl_server_callback_handler_class=VALIDATOR, sasl_oauthbearer_jwks_endpoint_url=f"{tmp_path}/none", **OAUTHBEARER)
    (tmp_path / "empty").write_text(json.dumps({"keys": []}))
    wrong(tmp_path, "option sasl.oauthbearer.jwks.endpoint.url: the keys of tokens cannot be read: file://DIR/empty: there is no key in it",
          sasl_server_callback_handler_class=VALIDATOR, sasl_oauthbearer_jwks_endpoint_url=f"file://{tmp_path}/empty", **OAUTHBEARER)
    wrong(tmp_path, "option sasl.oauthbearer.jwks.endpoint.url: the keys of tokens cannot be read: https://127.0.0.1:1/: nobody answers there",
          sasl_server_callback_handler_class=VALIDATOR, sasl_oauthbearer_jwks_endpoint_url="https://127.0.0.1:1/", **OAUTHBEARER)
    wrong(tmp_path, f"option sasl.server.callback.handler.class: it must be {VALIDATOR} on listener S, so that the keys of "
                    "sasl.oauthbearer.jwks.endpoint.url are used", sasl_oauthbearer_jwks_endpoint_url=f"{tmp_path}/keys", **OAUTHBEARER)


def test_tokens_that_nobody_signs(tmp_path):
    wrong(tmp_path, "option sasl.enabled.mechanisms: OAUTHBEARER on listener S would take tokens that nobody has signed; set "
                    f"sasl.server.callback.handler.class={VALIDATOR} and sasl.oauthbearer.jwks.endpoint.url, or "
                    "ottla.allow.unsecured.tokens=true", host="0.0.0.0", **OAUTHBEARER)


def test_no_identity_among_brokers(tmp_path):
    among = {"inter_broker_listener_name": "S"}
    wrong(tmp_path, rf"option sasl.mechanism.inter.broker.protocol: GSSAPI \(Kerberos, the default\) is not built; {ALLOWED}", **among)
    wrong(tmp_path, f"option {JAAS}: username and password are needed, for brokers log in at each other with them",
          sasl_mechanism_inter_broker_protocol="PLAIN", **among)
    wrong(tmp_path, "option listener.name.s.scram-sha-512.sasl.jaas.config: it is needed for SCRAM-SHA-512 on listener S .*",
          sasl_mechanism_inter_broker_protocol="SCRAM-SHA-512", **among)
    wrong(tmp_path, "option sasl.mechanism.inter.broker.protocol: SCRAM-SHA-512 is not among sasl.enabled.mechanisms of listener S",
          sasl_mechanism_inter_broker_protocol="SCRAM-SHA-512", listener_name_s_scram__sha__512_sasl_jaas_config=f'{SCRAM} username="a" password="b";', **among)


def test_mistyped_names(tmp_path):
    for name in ("sasl.enabled.mechanism", "listener.name.s.plain.sasl.jaas.confg", "listener.name.s.palin.x.sasl.jaas.config"):
        wrong(tmp_path, f"option {name}: there is no such option.*", **{name: "x"})
