"""The manifests of docker/kubernetes: kubeconform against the schemas of two Kubernetes versions, strictly, and what no
schema knows: that the parts of a manifest fit each other, and that the broker takes what its environment says."""

import json
import pathlib
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
import zipfile

import pytest

from harness import broker as brokers
from harness import paths
from harness.process import Process, free_port
from harness.wait import wait_for

yaml = pytest.importorskip("yaml", reason="skipped, because PyYAML is not installed")

pytestmark = [pytest.mark.once, pytest.mark.skipif(brokers.kind_under_test() != "ottla", reason="skipped, because it is about Ottla")]

MANIFESTS = sorted((paths.ROOT / "docker" / "kubernetes").glob("*.yaml"))
KUBECONFORM = "github.com/yannh/kubeconform/cmd/kubeconform@v0.6.7"
SCHEMAS = "kubernetes-validate==1.37.0"  # on PyPI: the schemas that Kubernetes publishes, of 1.25 to 1.37
VERSIONS = ["1.25.0", "1.37.0"]


def go() -> str:
    found = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    if found is None:
        pytest.skip("skipped, because there is no Go to build kubeconform with")
    return found


@pytest.fixture(scope="module")
def kubeconform():
    """The program, and where its schemas are; both fetched once."""
    compiler = go()
    with paths.making("kubernetes") as made:
        if not (made / "kubeconform").exists():
            shutil.rmtree(made, ignore_errors=True)
            env = {"GOBIN": str(made), "GOPATH": str(made / "go"), "GOFLAGS": "-modcacherw", "HOME": str(pathlib.Path.home()),
                   "PATH": "/usr/bin:/bin"}
            for argv, more in (([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", made / "wheel", SCHEMAS], None),
                               ([compiler, "install", KUBECONFORM], env)):
                done = subprocess.run(argv, capture_output=True, text=True, timeout=600, env=more)
                if done.returncode != 0:
                    pytest.skip(f"skipped, because it cannot be fetched: {done.stderr.strip().splitlines()[-1]}")
            unpack(next((made / "wheel").glob("*.whl")), made / "schemas")
    return made / "kubeconform", made / "schemas"


def unpack(wheel: pathlib.Path, to: pathlib.Path) -> None:
    """The strict schemas of the kinds that the manifests have, each with its definitions in it."""
    with zipfile.ZipFile(wheel) as z:
        for version in VERSIONS:
            (to / version).mkdir(parents=True)
            top = f"kubernetes_validate/kubernetes-json-schema/v{version}-local-strict"
            definitions = json.loads(z.read(f"{top}/_definitions.json"))["$defs"]
            for name in ("service-v1", "statefulset-apps-v1", "poddisruptionbudget-policy-v1"):
                schema = json.loads(z.read(f"{top}/{name}.json").decode().replace('"/api/_definitions.json#', '"#'))
                del schema["$id"]
                (to / version / f"{name}.json").write_text(json.dumps(schema | {"$defs": definitions}))


def validate(kubeconform, version: str, text: str) -> tuple[int, str]:
    program, schemas = kubeconform
    done = subprocess.run([program, "-strict", "-summary", "-kubernetes-version", version, "-schema-location",
                           f"{schemas}/{version}/{{{{ .ResourceKind }}}}{{{{ .KindSuffix }}}}.json"], input=text,
                          capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda m: m.name)
def test_schema(kubeconform, manifest, version):
    text = manifest.read_text()
    documents = len(list(yaml.safe_load_all(text)))
    status, said = validate(kubeconform, version, text)
    assert status == 0 and f"{documents} resources found" in said and f"Valid: {documents}, Invalid: 0" in said, said
    for good, bad in (("containerPort:", "containerPorts:"), ("periodSeconds: 5", "periodSeconds: often")):
        assert good in text
        assert validate(kubeconform, version, text.replace(good, bad))[0] != 0, f"{bad} is not seen"


def documents(manifest: pathlib.Path) -> dict:
    return {(d["kind"], d["metadata"]["name"]): d for d in yaml.safe_load_all(manifest.read_text())}


def pod_of(docs: dict) -> tuple[dict, dict, dict]:
    """The StatefulSet, its pod, its one container."""
    (stateful,) = [d for (kind, _), d in docs.items() if kind == "StatefulSet"]
    pod = stateful["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    return stateful, pod, container


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda m: m.name)
def test_parts_fit(manifest):
    docs = documents(manifest)
    stateful, pod, container = pod_of(docs)
    labels = pod["metadata"]["labels"].items()
    assert stateful["spec"]["selector"]["matchLabels"].items() <= labels
    assert docs["Service", stateful["spec"]["serviceName"]]["spec"]["clusterIP"] == "None"
    ports = {p["name"]: p["containerPort"] for p in container["ports"]}
    for (kind, _), d in docs.items():
        if kind == "Service":
            assert d["spec"]["selector"].items() <= labels
            assert all(ports[p["name"]] == p["port"] for p in d["spec"]["ports"])
        if kind == "PodDisruptionBudget":
            assert d["spec"]["selector"]["matchLabels"].items() <= labels
    for probe, path in (("startupProbe", "/readyz"), ("readinessProbe", "/readyz"), ("livenessProbe", "/livez")):
        assert container[probe]["httpGet"] == {"path": path, "port": "http"}
    volumes = {v["name"] for v in pod["spec"]["volumes"]} | {v["metadata"]["name"] for v in stateful["spec"]["volumeClaimTemplates"]}
    assert {m["name"] for m in container["volumeMounts"]} == volumes
    assert pod["metadata"]["annotations"]["prometheus.io/port"] == str(ports["http"])
    env = {e["name"]: e for e in container["env"]}
    assert env["POD_NAME"]["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.name"
    assert env["KAFKA_LISTENERS"]["value"] == f"PLAINTEXT://:{ports['kafka']}"
    assert env["KAFKA_OTTLA_HTTP_LISTENER"]["value"] == f"0.0.0.0:{ports['http']}"
    (data,) = [m["mountPath"] for m in container["volumeMounts"] if m["name"] == "data"]
    assert env["KAFKA_LOG_DIRS"]["value"].startswith(data + "/")


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status == 200
    except urllib.error.URLError:
        return False


def test_environment_of_one(tmp_path):
    """The broker starts with it, every variable is understood, and the probes are answered."""
    _, pod, container = pod_of(documents(paths.ROOT / "docker" / "kubernetes" / "one.yaml"))
    port, http = free_port(), free_port()
    env = {e["name"]: e.get("value", pod["metadata"].get("name", "ottla-0")) for e in container["env"]}
    env = {name: value.replace("9092", str(port)).replace("9404", str(http)).replace("/var/lib/kafka/data", str(tmp_path))
           for name, value in env.items()}
    broker = Process("ottla", [paths.ottla_binary()], tmp_path / "log", env=env, cwd=tmp_path)
    try:
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            path = container[probe]["httpGet"]["path"]
            wait_for(lambda: answers(f"http://127.0.0.1:{http}{path}"), 15, f"{path} to answer")
        said = broker.tail()
        assert " WARN " not in said and f"bootstrap.servers=ottla:{port}" in said
    finally:
        broker.kill()
    assert (tmp_path / "logs" / "meta.properties").exists()
