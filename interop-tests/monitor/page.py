"""A page of metrics, read as Prometheus reads it, and the broker's HTTP listener."""

import re
import urllib.error
import urllib.request

from harness.process import free_port

SERIES = re.compile(r'^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{((?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*",?)*)\})? (\S+)$')
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"')


def listener_options(**more) -> dict:
    """Options of a broker with an HTTP listener on a free port of this machine."""
    return {"ottla.http.listener": f"127.0.0.1:{free_port()}", **more}


def url(broker, path: str) -> str:
    return f"http://{broker.properties['ottla.http.listener']}{path}"


def get(broker, path: str, timeout_s: float = 20, **headers) -> tuple[int, str]:
    """The status, and the body."""
    request = urllib.request.Request(url(broker, path), headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as e:
        return e.code, e.read().decode()


class Page:
    """The series of a page; whatever is not well formed is an error, and so is a series that is there twice."""

    def __init__(self, text: str):
        self.text, self.series, self.types = text, {}, {}
        family = None
        ended = set()
        for line in text.splitlines():
            if line.startswith("# TYPE "):
                _, _, name, kind = line.split(" ")
                assert name not in ended, f"the family {name} is there twice"
                family = name
                ended.add(name)
                self.types[name] = kind
            elif not line.startswith("#"):
                match = SERIES.match(line)
                assert match, f"no series: {line}"
                name, labels, value = match.groups()
                assert name.startswith(family), f"{name} stands in the family {family}"
                key = (name, tuple(sorted(LABEL.findall(labels or ""))))
                assert key not in self.series, f"twice: {line}"
                self.series[key] = float(value)

    def get(self, name: str, **labels) -> float | None:
        return self.series.get((name, tuple(sorted((k, str(v)) for k, v in labels.items()))))

    def all(self, name: str) -> dict:
        """Values by labels."""
        return {labels: value for (found, labels), value in self.series.items() if found == name}

    def names(self) -> set:
        return {name for name, _ in self.series}


def page(broker) -> Page:
    status, text = get(broker, "/metrics")
    assert status == 200
    return Page(text)
