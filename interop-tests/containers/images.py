"""Images of others that the tests need, made of Debian's packages: none can be pulled here."""

import functools
import pathlib
import re
import shutil
import subprocess
import tempfile

from harness import paths

from . import engine as engines

_ZOOKEEPER = """#!/bin/sh
# A ZooKeeper as the images of the field run it; none of their variables is needed but the port.
exec java -Xmx128m -Dzookeeper.admin.enableServer=false -cp '/usr/share/java/*' \\
    org.apache.zookeeper.server.ZooKeeperServerMain "${ZOOKEEPER_CLIENT_PORT:-2181}" /data
"""


def debian(to: pathlib.Path, *arguments: str) -> None:
    """A root of Debian 12 as a tar, with the sources that this machine has; the last argument is a list of packages."""
    why = engines.install("mmdebstrap")
    assert why is None, why
    *options, packages = arguments
    sources = [*pathlib.Path("/etc/apt/sources.list.d").glob("debian.sources"), pathlib.Path("/etc/apt/sources.list")]
    done = subprocess.run(["mmdebstrap", "--variant=minbase", f"--include={packages}", *options, "bookworm", to,
                           *[s for s in sources if s.exists()][:1]], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]


@functools.cache
def zookeeper() -> str:
    """The name of an image with Debian's zookeeper. Its root is kept, since it takes a minute."""
    with paths.making("zookeeper-root.tar") as root:
        if not root.exists():
            start = paths.MADE / "start-zookeeper"
            start.write_text(_ZOOKEEPER)
            part = root.with_suffix(".part.tar")
            debian(part, "--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/locale/*",
                   f"--customize-hook=upload {start} /start", "--customize-hook=chmod 755 $1/start; mkdir $1/data", "zookeeper")
            part.rename(root)
        engines.engine().docker("import", "-c", 'CMD ["/start"]', root, "zookeeper-test:3.8", timeout_s=300)
    return "zookeeper-test:3.8"


@functools.cache
def kcat() -> str:
    """The name of an image that is kcat, for clients in a network of containers."""
    binary = shutil.which("kcat")
    with tempfile.TemporaryDirectory(dir=paths.MADE) as root:
        needed = subprocess.run(["ldd", binary], capture_output=True, text=True, check=True).stdout
        for file in [binary, *re.findall(r"(/\S+)", needed)]:
            to = pathlib.Path(root) / file.lstrip("/")
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, to)
        packed = subprocess.run(["tar", "-C", root, "-c", "."], capture_output=True, check=True).stdout
        tag = "kcat-test:1"
        subprocess.run(["/usr/bin/docker", "import", "-c", f'ENTRYPOINT ["{binary}"]', "-", tag], input=packed, check=True,
                       capture_output=True, timeout=120, env=engines.engine().environment())
    return tag
