"""The prober: a process of its own that asks and writes down, whatever happens to whoever started it.

``python -m underway.checks.prober --probes FILE.json --out SAMPLES.jsonl --stop FILE``

With ``--sweep`` it asks nothing, and only deletes what a killed prober of the same output file left behind.

It ends when the stop file exists, on SIGTERM or SIGINT, or when its output file was deleted, after it has waited for
what is open; nothing else ends it: not the end of its parent, not a full disk. One prober per output file (a lock on
it). Exit codes are those of :mod:`underway.errors`: 0 stopped as told, 2 the probes file is wrong, 3 another prober
writes this file.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import errno
import fcntl
import gc
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from underway.checks.base import Check
from underway.checks.build import Kit, asks_this_machine
from underway.checks.leftovers import Leftovers
from underway.checks.sampler import Sampler
from underway.checks.samples import Mark, encode
from underway.checks.target import Resolver
from underway.checks.tcp import TcpCheck
from underway.checks.vantage import Vantage
from underway.core.model.base import Value, canonical, decode
from underway.core.model.cluster import Probe
from underway.core.model.sample import Sample
from underway.errors import EXIT_DONE, EXIT_FAILED, EXIT_INPUT, EXIT_REFUSED, InputError, Refused

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_HOUSEKEEPING = 1.0
_LOOK = 0.2  # between two looks for the stop file
_STEP = 0.5  # a difference of the clocks that is worth a line


class ProbesFile(Value, frozen=True, kw_only=True):
    """What a prober is given. Secrets are in it only as names of files."""

    schema: int = 1
    probes: dict[str, Probe]


def write_probes(path: Path, probes: Mapping[str, Probe]) -> None:
    """Write the file that ``--probes`` names (0600, replaced as a whole)."""
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(canonical(ProbesFile(probes=dict(probes))))
    fresh.replace(path)


def read_probes(path: Path) -> dict[str, Probe]:
    """The probes of a file. Raises InputError."""
    try:
        found = decode(path.read_bytes(), ProbesFile)
    except OSError as error:
        raise InputError(f"{path}: expected a readable file of probes: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise InputError(f"{path}: expected probes as JSON: {error}") from error
    if found.schema != 1:
        raise InputError(f"{path}: expected schema 1, found {found.schema}")
    for name, probe in found.probes.items():
        if probe.name != name:
            raise InputError(f"{path}: probes.{name}: expected the name {name}, found {probe.name}")
    return found.probes


def leftovers_of(out: Path) -> Path:
    """The file that names what write probes made and have not deleted yet."""
    return out.with_name(out.name + ".leftovers")


def command(probes: Path, out: Path, stop: Path) -> list[str]:
    """The command line that starts a prober (detached, by the caller)."""
    return [
        sys.executable,
        "-m",
        "underway.checks.prober",
        "--probes",
        str(probes),
        "--out",
        str(out),
        "--stop",
        str(stop),
    ]


class Clocks:
    """Unix time that follows the monotonic clock from one pair of readings on, through steps of the wall clock.

    A machine that slept is the one exception: the monotonic clock stood still, so stamps move on by as much.
    """

    def __init__(self) -> None:
        before = time.monotonic()
        self.epoch = time.clock_gettime(time.CLOCK_REALTIME)
        self.mono = (before + time.monotonic()) / 2
        self._offset = self.epoch - self.mono
        self._asleep = self._drift()
        self._told = 0.0

    @staticmethod
    def _drift() -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic()

    def stamp(self, mono: float) -> float:
        """Unix seconds of a monotonic reading."""
        return self._offset + mono

    def wall(self) -> float:
        """Unix seconds now."""
        return self.stamp(time.monotonic())

    def look(self) -> Mark | None:
        """A mark where the clocks moved against each other since the last look, else None."""
        asleep = self._drift()
        slept, self._asleep = asleep - self._asleep, asleep
        if slept > _STEP:
            self._offset += slept
            return Mark(mark="clock", slept=round(slept, 3), epoch=self.stamp(time.monotonic()), mono=time.monotonic())
        now = time.monotonic()
        step = time.clock_gettime(time.CLOCK_REALTIME) - self.stamp(now)
        if abs(step - self._told) > _STEP:
            self._told = step
            return Mark(mark="clock", step=round(step, 3), epoch=self.stamp(now), mono=now)
        return None


class Recorder:
    """Appends lines to the file: collected within one turn of the loop, written at its end, synced each second."""

    def __init__(self, path: Path, loop: asyncio.AbstractEventLoop) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._fd)
            raise Refused(f"{path}: another prober writes this file (it ends by its stop file)") from error
        self._loop = loop
        self._lines: list[bytes] = []
        self._dropped = 0
        self._dirty = False
        # A torn line of a killed predecessor must not swallow the first one of ours.
        size = os.fstat(self._fd).st_size
        self._torn = size > 0 and os.pread(self._fd, 1, size - 1) != b"\n"

    def put(self, line: Sample | Mark) -> None:
        """Write a line soon (within this turn of the loop)."""
        if not self._lines:
            self._loop.call_soon(self.flush)
        self._lines.append(encode(line))

    def flush(self) -> None:
        """Hand everything to the system; what it does not take is counted and dropped, so memory stays bounded."""
        lines, self._lines = self._lines, []
        if not lines:
            return
        if self._dropped:
            lines.insert(0, encode(Mark(mark="full", dropped=self._dropped)))
        data = (b"\n" if self._torn else b"") + b"".join(lines)
        try:
            count = os.write(self._fd, data)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO):
                raise
            count = 0
        self._dirty = True
        if count == len(data):
            self._torn = False
            self._dropped = 0
        else:
            self._torn = self._torn or count > 0
            self._dropped += len(lines)

    def deleted(self) -> bool:
        """Whether the file is gone: nobody will read what is written."""
        return os.fstat(self._fd).st_nlink == 0

    async def sync(self) -> None:
        """Bring it to the disk, off the loop: a slow disk must not be seen as a late clock."""
        if self._dirty:
            self._dirty = False
            with contextlib.suppress(OSError):
                await self._loop.run_in_executor(None, os.fdatasync, self._fd)

    def close(self) -> None:
        """Write, sync, unlock."""
        self.flush()
        with contextlib.suppress(OSError):
            os.fdatasync(self._fd)
        os.close(self._fd)


async def _loopback() -> tuple[asyncio.Server, Check]:
    """The stand-in control target: a listener of our own."""

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    probe = Probe(name="loopback", kind="tcp", address=f"127.0.0.1:{port}")
    return server, TcpCheck(probe, Resolver())


async def run(probes: Mapping[str, Probe], out: Path, stop: Path, make: type[Kit] = Kit) -> None:
    """Probe until told to stop. ``make`` turns probes into checks. Raises InputError, Refused."""
    loop = asyncio.get_running_loop()
    clocks = Clocks()
    recorder = Recorder(out, loop)
    try:
        kit = make(probes, clocks.wall, leftovers_of(out))
    except InputError:
        recorder.close()
        raise
    server, loopback = await _loopback()
    asked = [probe for probe in probes.values() if not probe.control]
    controls = [kit.checks[probe.name] for probe in probes.values() if probe.control]
    vantage = Vantage(controls or [loopback], far=bool(controls))
    sampler = Sampler(
        asked,
        kit.checks,
        recorder.put,
        stamp=clocks.stamp,
        vantage=vantage,
        local=frozenset(probe.name for probe in asked if asks_this_machine(probe)),
    )
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    boot = _BOOT.read_text().strip() if _BOOT.exists() else ""
    names = tuple(probe.name for probe in asked)
    recorder.put(
        Mark(
            mark="start",
            epoch=clocks.epoch,
            mono=clocks.mono,
            pid=os.getpid(),
            boot=boot,
            host=socket.gethostname(),
            probes=names,
        )
    )
    vantage.start()
    sampler.start()
    gc.freeze()  # what was made so far lives as long as the process: no collection need look at it
    keep = loop.time()
    try:
        while not told.is_set() and not stop.exists():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK):
                    await told.wait()
            if loop.time() - keep >= _HOUSEKEEPING:
                keep = loop.time()
                mark = clocks.look()
                if mark is not None:
                    recorder.put(mark)
                await recorder.sync()
                if recorder.deleted():
                    break
    finally:
        mono = loop.time()
        await sampler.stop()
        await kit.close()
        server.close()
        counts = sampler.counts
        recorder.put(
            Mark(
                mark="end",
                epoch=clocks.stamp(mono),
                mono=mono,
                asked=counts.asked,
                late=counts.late,
                worst=round(counts.worst, 6),
            )
        )
        recorder.close()


async def sweep(probes: Mapping[str, Probe], out: Path, make: type[Kit] = Kit) -> int:
    """Delete what a killed prober left behind; how many things may still be there. Raises InputError, Refused."""
    recorder = Recorder(out, asyncio.get_running_loop())  # its lock says that no prober is at work
    try:
        kit = make(probes, Clocks().wall, leftovers_of(out))
        await kit.close()
    finally:
        recorder.close()
    return Leftovers.count(leftovers_of(out))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m underway.checks.prober", description="Asks probes on a fixed clock."
    )
    parser.add_argument("--probes", type=Path, required=True, help="JSON file of probes")
    parser.add_argument("--out", type=Path, required=True, help="file that samples are appended to")
    parser.add_argument("--stop", type=Path, required=True, help="ends when this file exists")
    parser.add_argument("--sweep", action="store_true", help="only delete what a killed prober left behind")
    options = parser.parse_args(arguments)
    # Fifty endpoints that hang for two seconds at twenty questions a second are two thousand open connections.
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 16384 if hard == resource.RLIM_INFINITY else min(hard, 16384)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    # The load of the upgrade itself on this machine must not look like an outage. Only root may; others do without.
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, -5)
    try:
        probes = read_probes(options.probes)
        if options.sweep:
            return EXIT_FAILED if asyncio.run(sweep(probes, options.out)) else EXIT_DONE
        asyncio.run(run(probes, options.out, options.stop))
    except InputError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_INPUT
    except Refused as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_REFUSED
    return EXIT_DONE


if __name__ == "__main__":
    sys.exit(main())
