"""A link that can be cut, frozen and slowed: stands between two parts that speak over a Unix socket.

It listens in one place and passes on to another, file descriptors included. Each connection is known by the process
that opened it, so the link of two workers can be cut while all others hold.
"""

from __future__ import annotations

import array
import contextlib
import os
import socket
import struct
import threading
import time
from collections.abc import Callable

_CHUNK = 1 << 18
_MOST_FDS = 253


class Proxy:
    """Passes connections to `path` on to `target`. Threads end with `close`.

    Attributes
    ----------
    delay : seconds that every piece of data waits on its way.
    """

    def __init__(self, path: str, target: str) -> None:
        self.path, self.target = path, target
        self.delay = 0.0
        self.passed = 0
        self._may: Callable[[int], bool] = lambda pid: True
        self._flows = threading.Event()
        self._flows.set()
        self._pairs: dict[tuple[socket.socket, socket.socket], int] = {}
        self._lock = threading.Lock()
        self._closed = False
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(path)
        os.chmod(path, 0o600)
        self.inode = os.stat(path).st_ino
        self._listener.listen(128)
        threading.Thread(target=self._accept, daemon=True).start()

    # -- what can be done to the link -------------------------------------------------------------------------------

    def cut(self, *pids: int) -> None:
        """End all connections (of these processes), and refuse new ones until `heal`."""
        self._may = (lambda other: other not in pids) if pids else (lambda other: False)
        for pid in pids or (None,):
            self.drop(pid)

    def drop(self, pid: int | None = None) -> None:
        """End all connections (of `pid`) once; new ones are welcome."""
        with self._lock:
            pairs = [pair for pair, owner in self._pairs.items() if pid in (None, owner)]
        for pair in pairs:
            for end in pair:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def freeze(self) -> None:
        """Nothing passes any more, and nobody is told: a partition."""
        self._flows.clear()

    def heal(self) -> None:
        self._may = lambda pid: True
        self.delay = 0.0
        self._flows.set()

    def close(self, unlink: bool = True) -> None:
        self._closed = True
        self._flows.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.drop()
        with contextlib.suppress(FileNotFoundError):
            if unlink:
                os.unlink(self.path)

    # -- passing on -------------------------------------------------------------------------------------------------

    def _accept(self) -> None:
        while not self._closed:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            pid = struct.unpack("3i", near.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
            far = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                if not self._may(pid):
                    raise ConnectionRefusedError
                far.connect(self.target)
            except OSError:
                near.close()
                far.close()
                continue
            with self._lock:
                self._pairs[near, far] = pid
            ends = [threading.Thread(target=self._pass, args=way, daemon=True) for way in ((near, far), (far, near))]
            for thread in ends:
                thread.start()
            threading.Thread(target=self._bury, args=(near, far, ends), daemon=True).start()

    def _bury(self, near: socket.socket, far: socket.socket, ends: list[threading.Thread]) -> None:
        for thread in ends:
            thread.join()
        with self._lock:
            del self._pairs[near, far]
        near.close()
        far.close()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        space = socket.CMSG_SPACE(_MOST_FDS * 4)
        try:
            while True:
                data, control, _, _ = source.recvmsg(_CHUNK, space, socket.MSG_CMSG_CLOEXEC)
                if not data:
                    return
                if self.delay:
                    time.sleep(self.delay)
                self._flows.wait()
                fds = array.array("i")
                for _, kind, piece in control:
                    if kind == socket.SCM_RIGHTS:
                        fds.frombytes(piece[: len(piece) - len(piece) % fds.itemsize])
                self.passed += len(data)
                if not fds:
                    sink.sendall(data)
                    continue
                # Descriptors come with the last byte of what was read, and have to leave with it.
                try:
                    sink.sendall(data[:-1])
                    socket.send_fds(sink, [data[-1:]], list(fds))
                finally:
                    for fd in fds:
                        os.close(fd)
        except OSError:
            return
        finally:
            for end in (source, sink):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
