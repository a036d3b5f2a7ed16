"""A disk whose power can be cut: a file system of its own in a file, on a loop device.

The cut is the file systems' own ioctl for it, without a last flush of the journal: from that moment on nothing reaches
the disk, and every sync fails. What was synced is there at the next mount; what was not is there as far as the kernel had
written it back by itself. Nothing can be told of a disk that lies, or keeps a cache of its own: the file is in the page
cache of a machine that goes on.

Nothing is left behind, also when this process is killed: the mount is in a mount namespace of ours, the loop device
clears itself with its last user, and the file has no name any more. Whoever starts processes that are to see the mount
does it from the thread that called enter().
"""

import contextlib
import ctypes
import fcntl
import os
import pathlib
import random
import shutil
import struct
import subprocess
import tempfile
import threading

from harness import toolhost
from harness.wait import wait_for

_libc = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNS = 0x00020000
_LOOP_CTL_GET_FREE, _LOOP_CONFIGURE, _LO_FLAGS_AUTOCLEAR = 0x4C82, 0x4C0A, 4
_GOING_DOWN, _NO_LOG_FLUSH = 0x8004587D, 2  # _IOR('X', 125, __u32), of ext4 and of XFS
_SYNC_WRITE = 1 | 2 | 4  # of sync_file_range: wait, write, wait
_entered = False

MKFS = {"ext4": ["mkfs.ext4", "-q", "-F", "-b", "4096"], "xfs": ["mkfs.xfs", "-q", "-f"]}
SIZE_BYTES = {"ext4": 200 << 20, "xfs": 320 << 20}  # XFS takes no less than 300 MB


def missing(kind: str) -> str | None:
    """Why there can be no such disk here, or None. One is made and mounted to know it."""
    if os.geteuid() != 0:
        return "only root can mount"
    if not shutil.which(MKFS[kind][0]):
        return f"{MKFS[kind][0]} is not installed"
    try:
        with Disk(kind) as disk:
            disk.cut()
    except (OSError, subprocess.CalledProcessError) as e:
        why = (getattr(e, "stderr", None) or str(e)).strip().splitlines()
        return f"{kind} cannot be made, mounted and shut down on a loop device here: {why[0]}"
    return None


def enter() -> None:
    """Moves the calling thread, and all that it starts, into a mount namespace of its own."""
    global _entered
    if _entered:
        return
    if _libc.unshare(_CLONE_NEWNS):
        raise OSError(ctypes.get_errno(), "unshare: " + os.strerror(ctypes.get_errno()))
    _run("mount", "--make-rprivate", "/")
    toolhost.close_all()  # JVMs that are outside do not see what is mounted here
    _entered = True


def _run(*argv) -> None:
    subprocess.run([str(a) for a in argv], check=True, capture_output=True, text=True)


def _loop_of(image: int) -> tuple[int, str]:
    """A loop device, open: it is cleared when that is closed and nothing is mounted."""
    control = os.open("/dev/loop-control", os.O_RDWR)
    try:
        while True:
            path = f"/dev/loop{fcntl.ioctl(control, _LOOP_CTL_GET_FREE)}"
            device = os.open(path, os.O_RDWR)
            # struct loop_config: fd, block size, then struct loop_info64 with its flags after five u64 and three u32.
            config = struct.pack("<II40xIIII", image, 0, 0, 0, 0, _LO_FLAGS_AUTOCLEAR).ljust(8 + 232 + 64, b"\0")
            try:
                fcntl.ioctl(device, _LOOP_CONFIGURE, config)
                return device, path
            except OSError as e:
                os.close(device)
                if e.errno != 16:  # somebody else took it
                    raise
    finally:
        os.close(control)


class Disk:
    def __init__(self, kind: str, options: str = "defaults", in_memory: bool = True):
        """In memory a sync takes no time of the machine's own disk."""
        enter()
        self.kind, self._options, self._mounted = kind, options, False
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="ottla-interop-power-"))
        try:
            with open(os.memfd_create("disk"), "r+b") if in_memory else tempfile.TemporaryFile(dir=self.directory) as image:
                image.truncate(SIZE_BYTES[kind])
                self._device, self._path = _loop_of(image.fileno())
            _run(*MKFS[kind], self._path)
            self.root = self.directory / "mnt"
            self.root.mkdir()
            self.mount()
        except BaseException:
            self.destroy()
            raise

    def __enter__(self) -> "Disk":
        return self

    def __exit__(self, *_) -> None:
        self.destroy()

    def mount(self) -> None:
        _run("mount", "-t", self.kind, "-o", self._options, self._path, self.root)
        self._mounted = True

    def unmount(self) -> None:
        def unmounted():
            try:
                _run("umount", self.root)
            except subprocess.CalledProcessError as e:
                raise OSError(e.stderr) from None
            return True
        wait_for(unmounted, 10, f"{self.root} to be unmounted")
        self._mounted = False

    def cut(self) -> None:
        """From now on nothing reaches the disk."""
        fd = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            assert os.fstat(fd).st_dev != os.stat(self.directory).st_dev, f"{self.root} is not mounted"
            fcntl.ioctl(fd, _GOING_DOWN, struct.pack("I", _NO_LOG_FLUSH))
        finally:
            os.close(fd)

    def come_back(self) -> None:
        """What a machine does that has power again. Nobody has a file open any more."""
        self.unmount()
        self.mount()

    def destroy(self) -> None:
        """Also of one that was never whole; nothing here may hide what went wrong before."""
        if self._mounted:
            subprocess.run(["umount", "-l", self.root], capture_output=True)
        if hasattr(self, "_device"):
            os.close(self._device)
            del self._device
        shutil.rmtree(self.directory, ignore_errors=True)


class WriteBack:
    """A kernel that writes back what nobody has asked for: any part of any file, in any order, at any time.

    With a delayed allocation a file is as long as what has been written back of it, so that a later part of it, or
    a later file, may be on the disk without an earlier one: the holes that a recovery has to see."""

    def __init__(self, directory: pathlib.Path, seed: int, often_s: float = 0.01):
        self._directory, self._rng, self._often_s = directory, random.Random(seed), often_s
        self.bytes, self._stop = 0, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(self._rng.random() * 2 * self._often_s):
            with contextlib.suppress(OSError):  # a file that is gone
                self._some()

    def _some(self) -> None:
        newest = sorted(self._directory.glob("*-*/*"), key=lambda p: p.stat().st_mtime_ns)[-20:]
        if not newest:
            return
        with open(self._rng.choice(newest), "rb") as f:
            size = os.fstat(f.fileno()).st_size
            at, length = self._rng.randrange(size + 1) & ~4095, self._rng.randrange(1, 1 << 16)
            _libc.sync_file_range(f.fileno(), ctypes.c_int64(at), ctypes.c_int64(length), _SYNC_WRITE)
            self.bytes += max(0, min(length, size - at))
        if self._rng.random() < 0.1:  # commits the journal, and with it the sizes and names of others
            with open(self._directory.parent / "other", "ab", buffering=0) as f:
                f.write(b"x")
                os.fsync(f.fileno())

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
