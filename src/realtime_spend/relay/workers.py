"""Several processes on one port: the kernel spreads connections over them, and one that dies is replaced."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
import traceback
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# A terminal, or who ends a service, sends its signal to the workers too: so the parent has one of its own for haste.
URGENT = signal.SIGUSR1
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
_ANSWERED = (*_SIGNALS, URGENT)
# A worker that lives no longer than this is not replaced again and again.
_TOO_SHORT_SECONDS = 2.0
_MOST_SHORT_LIVES = 5
_BACKLOG = 1_024
_SET_WRONG = 2


def bound(host: str, port: int, count: int) -> list[socket.socket]:
    """Return so many sockets that listen on one port; OSError if it cannot be had."""
    sockets: list[socket.socket] = []
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    try:
        for _ in range(count):
            listening = socket.socket(family, kind, protocol)
            sockets.append(listening)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if count > 1:
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            listening.bind(address)
            # From now on connections wait for their worker, also for one that takes the place of another.
            listening.listen(_BACKLOG)
            # Where any port would do, the others take the one that the first was given.
            address = (address[0], listening.getsockname()[1], *address[2:])
    except OSError:
        for listening in sockets:
            listening.close()
        raise
    return sockets


def run_workers(sockets: list[socket.socket], work: Callable[[socket.socket], None]) -> int:
    """Run `work` in a process of its own for each socket until somebody asks for the end; return the exit status."""
    # A worker lets them in once it knows what to do with them.
    signal.pthread_sigmask(signal.SIG_BLOCK, _ANSWERED)
    workers = {_fork(listening, sockets, work): (listening, time.monotonic()) for listening in sockets}
    is_ending, short_lives, status = False, 0, 0
    while workers:
        number = signal.sigwait(_SIGNALS)
        if number != signal.SIGCHLD:
            for process in workers:
                os.kill(process, URGENT if is_ending else signal.SIGTERM)
            is_ending = True
            continue
        for process, exited in _ended(list(workers)):
            listening, begun = workers.pop(process)
            if is_ending:
                status = max(status, exited)
                # Nobody accepts on it any more: whoever comes now is to be answered by those that are left.
                listening.close()
                continue
            if exited == _SET_WRONG:
                # It has said what; another one would say it again.
                is_ending, status = True, exited
                for other in workers:
                    os.kill(other, signal.SIGTERM)
                continue
            short_lives = short_lives + 1 if time.monotonic() - begun < _TOO_SHORT_SECONDS else 0
            if short_lives >= _MOST_SHORT_LIVES:
                is_ending, status = True, 1
                for other in workers:
                    os.kill(other, signal.SIGTERM)
                continue
            print("realtime-spend: a worker has ended; another one takes its place", file=sys.stderr)  # noqa: T201 - as below
            workers[_fork(listening, sockets, work)] = (listening, time.monotonic())
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ANSWERED)
    return status


def _fork(listening: socket.socket, sockets: list[socket.socket], work: Callable[[socket.socket], None]) -> int:
    process = os.fork()
    if process:
        return process
    status = 1
    try:
        for other in sockets:
            # While one process holds it, the kernel hands connections to it.
            if other is not listening:
                other.close()
        work(listening)
        status = 0
    except ValueError as error:
        print(f"Error: {error}", file=sys.stderr)  # noqa: T201 - who asked for workers is to know
        status = _SET_WRONG
    except Exception:  # noqa: BLE001 - nobody is above to say it
        traceback.print_exc()
    finally:
        # What the parent has yet to write is the parent's to write.
        os._exit(status)


def _ended(processes: list[int]) -> list[tuple[int, int]]:
    found = []
    for process in processes:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            exited = os.waitstatus_to_exitcode(status)
            found.append((process, exited if exited in (0, _SET_WRONG) else 1))
    return found
