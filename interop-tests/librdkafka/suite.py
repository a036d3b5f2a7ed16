"""librdkafka's own tests, built from Debian's source package, against a broker of ours."""

import os
import pathlib
import shutil
import subprocess

from harness import paths

PASSWORD = "a key's password"
_APT = ["-qq", "-o", "Dir::Etc::sourceparts=/dev/null", "-o", "APT::Sandbox::User=", "-o", "Acquire::Languages=none"]


class Missing(Exception):
    """Why it cannot be had here."""


def _run(*argv, cwd=None, timeout_s: float = 900) -> None:
    done = subprocess.run([str(a) for a in argv], cwd=cwd, capture_output=True, text=True, timeout=timeout_s)
    if done.returncode != 0:
        raise Missing(f"{' '.join(map(str, argv))} ended with {done.returncode}: {done.stderr[-300:]}")


def _fetch(at: pathlib.Path) -> None:
    """Debian's source package, unpacked; its repositories are those that packages come from."""
    lists = at / "apt"
    (lists / "lists" / "partial").mkdir(parents=True)
    (lists / "cache" / "archives" / "partial").mkdir(parents=True)
    said = subprocess.run(["apt-get", "indextargets", "--format", "REPO $(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages"],
                          capture_output=True, text=True, check=True).stdout
    rows = {line.split()[1:4] and tuple(line.split()[1:4]) for line in said.splitlines() if line.startswith("REPO")}
    (lists / "sources.list").write_text("".join(f"deb-src {' '.join(row)}\n" for row in sorted(rows)))
    options = [*_APT, "-o", f"Dir::Etc::sourcelist={lists}/sources.list", "-o", f"Dir::State::lists={lists}/lists",
               "-o", f"Dir::Cache={lists}/cache"]
    _run("apt-get", *options, "update")
    _run("apt-get", *options, "source", "librdkafka", cwd=at)


def tests() -> pathlib.Path:
    """The folder with the built test-runner. OTTLA_LIBRDKAFKA names another one, of a newer source perhaps."""
    if "OTTLA_LIBRDKAFKA" in os.environ:
        return pathlib.Path(os.environ["OTTLA_LIBRDKAFKA"])
    if not shutil.which("apt-get") or not shutil.which("dpkg-source") or not shutil.which("g++"):
        raise Missing("it is built from Debian's source package: apt-get, dpkg-dev and g++ are needed")
    with paths.making("librdkafka-source") as made:
        if not (made / ".complete").exists():
            shutil.rmtree(made, ignore_errors=True)
            made.mkdir(parents=True)
            _fetch(made)
            source = next(made.glob("librdkafka-*/"))
            _run("./configure", "--disable-gssapi", "--disable-zstd", "--disable-lz4-ext", cwd=source)
            _run("make", "-j2", "libs", cwd=source)
            _run("make", "-C", "tests", "-j2", "test-runner", cwd=source)
            (made / ".complete").touch()
        return next(made.glob("librdkafka-*/tests"))


def _openssl(*args, at: pathlib.Path) -> None:
    subprocess.run(["openssl", *map(str, args)], cwd=at, check=True, capture_output=True)


def make_certificates(at: pathlib.Path) -> dict:
    """A CA, the broker's key (PEM and PKCS12) and a client's in all forms; the variables that the tests read."""
    def key(name: str) -> None:
        _openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr", at=at)
        (at / "san").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
        _openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", 30,
                 "-extfile", "san", "-out", f"{name}.pem", at=at)
    at.mkdir(parents=True, exist_ok=True)
    _openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", 30, "-subj", "/CN=ca", "-keyout", "ca.key", "-out", "ca.pem", at=at)
    key("broker")
    key("client")
    _openssl("x509", "-in", "ca.pem", "-outform", "DER", "-out", "ca.der", at=at)
    _openssl("x509", "-in", "client.pem", "-outform", "DER", "-out", "client.der", at=at)
    _openssl("pkcs8", "-topk8", "-in", "client.key", "-passout", f"pass:{PASSWORD}", "-out", "client.enc.key", at=at)
    _openssl("pkcs8", "-topk8", "-in", "client.key", "-outform", "DER", "-nocrypt", "-out", "client.key.der", at=at)
    _openssl("pkcs12", "-export", "-in", "client.pem", "-inkey", "client.key", "-certfile", "ca.pem", "-passout", f"pass:{PASSWORD}",
             "-out", "client.p12", at=at)
    _openssl("pkcs12", "-export", "-in", "broker.pem", "-inkey", "broker.key", "-passout", f"pass:{PASSWORD}", "-out", "broker.p12", at=at)
    files = {"SSL_pkcs": "client.p12", "SSL_pub_der": "client.der", "SSL_pub_pem": "client.pem", "SSL_priv_der": "client.key.der",
             "SSL_priv_pem": "client.enc.key", "SSL_ca_der": "ca.der", "SSL_ca_pem": "ca.pem", "SSL_all_cas_pem": "ca.pem"}
    variables = {name: str(at / file) for name, file in files.items()} | {"SSL_password": PASSWORD}
    return variables | {f"RDK_{name}": value for name, value in variables.items()}


def run(test: str, settings: dict, work: pathlib.Path, variables: dict) -> str:
    """One of the tests; what it said. It fails, is skipped (Missing), or passes."""
    folder = tests()
    conf = work / f"{test}.conf"
    conf.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    env = os.environ | variables | {"TESTS": test, "RDKAFKA_TEST_CONF": str(conf), "TEST_KAFKA_VERSION": "3.9.1", "KAFKA_VERSION": "3.9.1",
                                    "LD_LIBRARY_PATH": f"{folder.parent}/src:{folder.parent}/src-cpp"}
    done = subprocess.run(["./test-runner", "-p1"], cwd=folder, env=env, capture_output=True, text=True, timeout=600, errors="replace")
    said = done.stdout + done.stderr
    if f"{test}" in said and "SKIPPED" in said and done.returncode == 0 and "PASSED" not in said:
        raise Missing(said[-2000:])
    assert done.returncode == 0, said[-6000:]
    return said
