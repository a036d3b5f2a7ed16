"""Every wire case against the broker under test. A file that asks for settings gets a broker of its own."""

import pathlib

import pytest

from harness import broker as brokers
from wire import language, player

FILES = [language.parse_file(p) for p in sorted(pathlib.Path(__file__).parent.glob("*.case"))]


def _name(f) -> str:
    return pathlib.Path(f.path).stem


@pytest.fixture(scope="module")
def running():
    """Brokers by file: one for all files without settings of their own."""
    started = {}
    try:
        def get(f):
            key = _name(f) if f.overrides else ""
            if key in started and not started[key].alive():
                # A case has ended the broker: that case has failed, and the others are to be judged by themselves.
                started.pop(key).destroy()
            if key not in started:
                started[key] = brokers.new_broker(f.overrides)
                started[key].start()
            return started[key]
        yield get
    finally:
        for b in started.values():
            b.destroy()


def _params() -> list:
    return [pytest.param(f, c, id=f"{_name(f)}: {c.title}", marks=[pytest.mark.whole] if c.whole else [])
            for f in FILES for c in f.cases]


@pytest.mark.client("wire cases")
@pytest.mark.parametrize("file, case", _params())
def test_case(running, file, case):
    b = running(file)
    problem = None
    try:
        player.Player("127.0.0.1", b.port, b.kind).play(case)
    except player.Skip as e:
        pytest.skip(str(e))
    except (AssertionError, language.CaseError) as e:
        problem = f"{file.path}:{case.line} {case.title}\n{e}\n{b.log_tail(15)}"
    if problem is None and not b.alive():
        problem = f"the broker ended during this case\n{b.log_tail(60)}"
    if problem:
        pytest.fail(problem, pytrace=False)
