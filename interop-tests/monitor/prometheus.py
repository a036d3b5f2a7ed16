"""A Prometheus that watches brokers with the project's own rules, in seconds instead of minutes."""

import json
import pathlib
import re
import shutil
import tempfile
import urllib.parse
import urllib.request

from harness import paths
from harness.process import Process, free_port
from harness.wait import wait_for

MONITORING = paths.ROOT / "docker" / "monitoring"
WINDOW = "10s"  # in place of five minutes


def missing() -> str | None:
    return None if shutil.which("prometheus") else "there is no Prometheus: apt-get install prometheus"


def rules() -> str:
    text = (MONITORING / "alerts.yml").read_text()
    return re.sub(r"\[5m\]", f"[{WINDOW}]", re.sub(r"(?m)^( +)for: \d+m$", r"\1for: 0s", text))


def alerts() -> set:
    return set(re.findall(r"- alert: (\w+)", (MONITORING / "alerts.yml").read_text()))


def queries() -> list:
    """(panel, expression) of the board, for all instances and topics."""
    board = json.loads((MONITORING / "grafana.json").read_text())
    found = []
    for panel in board["panels"]:
        for target in panel.get("targets", []):
            expression = target["expr"].replace("$__rate_interval", WINDOW).replace("$instance", ".*").replace("$topic", ".*")
            assert "$" not in expression, expression
            found.append((panel["title"], expression))
    return found


class Prometheus:
    def __init__(self, targets: list):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="ottla-prometheus-"))
        self.port = free_port()
        (self.directory / "alerts.yml").write_text(rules())
        config = (MONITORING / "prometheus.yml").read_text()
        config = config.replace("15s", "1s").replace("- localhost:9644", "\n".join(f"- {t}" for t in targets).replace("\n", "\n          "))
        (self.directory / "prometheus.yml").write_text(config)
        self.process = Process("prometheus", [
            "prometheus", f"--config.file={self.directory}/prometheus.yml", f"--storage.tsdb.path={self.directory}/data",
            f"--web.listen-address=127.0.0.1:{self.port}", "--query.lookback-delta=10s"], self.directory / "log")
        wait_for(self._ready, 30, "Prometheus")

    def _ready(self) -> bool:
        assert self.process.running(), self.process.tail()
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{self.port}/-/ready", timeout=2).status == 200
        except OSError:
            return False

    def _ask(self, path: str) -> dict:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/v1/{path}", timeout=20) as answer:
            said = json.load(answer)
        assert said["status"] == "success", said
        return said["data"]

    def query(self, expression: str) -> list:
        return self._ask("query?" + urllib.parse.urlencode({"query": expression}))["result"]

    def firing(self) -> set:
        return {alert["labels"]["alertname"] for alert in self._ask("alerts")["alerts"] if alert["state"] == "firing"}

    def healthy(self) -> bool:
        """It gets a page from every target."""
        targets = self._ask("targets?state=active")["activeTargets"]
        return bool(targets) and all(t["health"] == "up" for t in targets)

    def wait_firing(self, alert: str, timeout_s: float = 60) -> None:
        wait_for(lambda: alert in self.firing(), timeout_s, f"the alert {alert} to fire")

    def destroy(self) -> None:
        self.process.kill()
        shutil.rmtree(self.directory, ignore_errors=True)
