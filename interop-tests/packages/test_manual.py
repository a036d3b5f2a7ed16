"""What is made of the broker's own words: manual pages and completions say all of it, and shells take them."""

import re
import subprocess

import pytest

from harness import broker as brokers
from harness import paths
from packages import build

pytestmark = [pytest.mark.once, pytest.mark.skipif(brokers.kind_under_test() != "ottla", reason="skipped, because it is about Ottla")]

SHELLS = ["bash", "zsh", "fish"]


def said(switch: str) -> str:
    return build.run(paths.ottla_binary(), switch)


def completions(shell: str) -> str:
    return build.run("packaging/completions/make", shell, paths.ottla_binary())


def switches() -> list:
    found = re.findall(r"(?<![\w-])--[a-z][a-z-]*", said("--help"))
    assert "--override" in found
    return found


def test_page_of_options():
    """A tagged paragraph for each option, with its default."""
    manual = said("--options")
    page = subprocess.run(["packaging/man/options", "2026-11-30", "1"], input=manual, capture_output=True, text=True, check=True,
                          cwd=paths.ROOT).stdout
    names = re.findall(r"^\| `([^`]+)` \|", manual, re.MULTILINE)
    assert len(names) > 200
    tags = re.findall(r"^\.TP\n\\fB(.+)\\fR$", page, re.MULTILINE)
    assert [t.replace("\\-", "-") for t in tags] == names
    assert ".TP\n\\fBnum.partitions\\fR\ntype: int; default: 1; allowed: 1..\n.br\n" in page
    assert not re.search(r"^['.](?!TH|SH|PP|TP|IP|RS|RE|nf|fi|br|BR|I|B|\\\")", page, re.MULTILINE), "no text is taken for a request"


def test_page_of_the_command():
    page = (paths.ROOT / "packaging/man/ottla.1").read_text().replace("\\-", "-")
    assert [s for s in switches() if s not in page] == []
    tools = re.findall(r"(?m)^  ([a-z-]+) +[a-z]", said("--help").split("\nTools", 1)[1])
    assert "topics" in tools and [t for t in tools if f"\n.B {t}\n" not in page] == []


def completed(*words: str) -> list:
    """What bash offers for the last word."""
    script = completions("bash") + """
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        compopt() { :; }
        _ottla
        printf '%s\\n' "${COMPREPLY[@]}" """
    return subprocess.run(["bash", "-uc", script, "bash", *words], capture_output=True, text=True, check=True).stdout.split()


def test_bash(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "server.properties").touch()
    (tmp_path / "other.txt").touch()
    (tmp_path / "folder").mkdir()
    assert completed("ottla", "top") == ["topics"]
    assert completed("ottla", "--o") == ["--options", "--override"]
    assert completed("ottla", "--override", "num.part") == ["num.partitions="]
    assert [word for word in completed("ottla", "") if "-" not in word] == ["health", "topics", "configs", "storage", "folder", "server.properties"]
    assert completed("ottla", "--in-memory", "") == ["folder", "server.properties"]


@pytest.mark.whole
@pytest.mark.parametrize("shell", SHELLS)
def test_shells_take_them(tmp_path, shell):
    """Each shell reads its own; fish can be asked what it offers without a terminal."""
    build.need(shell)
    file = tmp_path / "completions"
    file.write_text(completions(shell))
    build.run(shell, "-n", file)
    if shell == "fish":
        build.run("fish", "--no-config", "-c", f"source {file}; string match -q 'num.partitions=*' (complete -C 'ottla --override num.part'); or exit 1")
