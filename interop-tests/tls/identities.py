"""Authorities, keys and certificates, made by openssl's own program; and stores of them in files."""

import pathlib
import subprocess
from dataclasses import dataclass

PASSWORD = "changeit-planted-secret"


def openssl(*argv, stdin: str = "") -> str:
    done = subprocess.run(["openssl", *map(str, argv)], input=stdin, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"openssl {argv}\n{done.stderr}"
    return done.stdout


@dataclass
class Identity:
    """Files: the key in PKCS#8, the certificate, and both (with what signed it) in one PEM, and in one PKCS12."""

    key: pathlib.Path
    certificate: pathlib.Path
    pem: pathlib.Path
    p12: pathlib.Path


class Authority:
    def __init__(self, directory: pathlib.Path, name: str = "ca"):
        self.directory, self.name = directory, name
        self.key, self.pem = directory / f"{name}.key", directory / f"{name}.pem"
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", self.key, "-out",
                self.pem, "-subj", f"/CN={name}", "-days", 30)

    def identity(self, file: str, subject: str = "/CN=localhost", kind: str = "rsa:2048",
                 names: str = "DNS:localhost,IP:127.0.0.1", days: int = 30) -> Identity:
        d = self.directory
        made = Identity(*(d / f"{file}.{end}" for end in ("key", "crt", "pem", "p12")))
        curve = ["-pkeyopt", "ec_paramgen_curve:P-256"] if kind == "ec" else []
        openssl("req", "-newkey", kind, *curve, "-nodes", "-keyout", made.key, "-out", d / f"{file}.csr", "-subj", subject)
        (d / f"{file}.ext").write_text(f"subjectAltName={names}\n")
        openssl("x509", "-req", "-in", d / f"{file}.csr", "-CA", self.pem, "-CAkey", self.key, "-CAcreateserial", "-out",
                made.certificate, "-days", days, "-extfile", d / f"{file}.ext")
        made.pem.write_text(made.key.read_text() + made.certificate.read_text() + self.pem.read_text())
        openssl("pkcs12", "-export", "-inkey", made.key, "-in", made.certificate, "-certfile", self.pem, "-name", "kafka",
                "-out", made.p12, "-passout", f"pass:{PASSWORD}")
        return made


class Identities:
    """What most tests need: a server, Carol, and somebody whom nobody knows."""

    def __init__(self, directory: pathlib.Path):
        self.directory = directory
        self.ca = Authority(directory)
        self.server = self.ca.identity("server")
        self.carol = self.ca.identity("carol", "/C=NL/O=Acme/OU=data/CN=Carol")
        self.stranger = Authority(directory, "nobody").identity("stranger", "/CN=Carol")
