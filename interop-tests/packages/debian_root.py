"""A Debian 12 with nothing but its essential packages and apt, in a directory, to install into."""

import os
import pathlib
import shutil
import subprocess

from packages import build

REPOSITORIES = ["apt-get", "indextargets", "--format", "REPO $(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages"]
# A mount table of its own, which goes with the command.
ENTER = 'mount -t proc proc "$0/proc" && exec chroot "$0" "$@"'


class Root:
    def __init__(self, directory: pathlib.Path):
        """Made by mmdebstrap, of the repositories that this machine uses."""
        build.need("mmdebstrap")
        self.path = directory
        lines = build.run(*REPOSITORIES).splitlines()
        sources = sorted({"deb " + line.removeprefix("REPO ") for line in lines if line.startswith("REPO ")})
        build.run("mmdebstrap", "--mode=root", "--variant=apt", "--aptopt=Acquire::Check-Valid-Until \"false\"", "bookworm",
                  directory, *sources)
        shutil.copy("/etc/resolv.conf", directory / "etc")
        shutil.copy("/etc/hosts", directory / "etc")

    def argv(self, *argv) -> list:
        return ["unshare", "--mount", "sh", "-c", ENTER, self.path, *argv]

    def run(self, *argv, status: int = 0) -> str:
        """A command in it; what it printed."""
        done = subprocess.run(self.argv(*argv), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=300, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive",
                                                "LANG": "C.UTF-8"})
        assert done.returncode == status, f"{argv}: status {done.returncode}\n{done.stdout}"
        return done.stdout

    def apt(self, *argv) -> str:
        return self.run("apt-get", "-y", "-q", "--no-install-recommends", "-o", "Dpkg::Options::=--force-confdef",
                        "-o", "Dpkg::Options::=--force-confold", *argv)

    def add(self, file: pathlib.Path) -> str:
        """Copies a file in; its path there."""
        shutil.copy(file, self.path / file.name)
        os.chmod(self.path / file.name, 0o644)
        return f"/{file.name}"

    def file(self, path: str) -> pathlib.Path:
        return self.path / path.lstrip("/")
