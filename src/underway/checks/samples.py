"""The file of a prober: one JSON object a line, samples and a few marks; how it is written and read.

A sample line is :class:`underway.core.model.sample.Sample`. A mark line has the key ``mark``:

========= ==========================================================================================
mark      meaning
========= ==========================================================================================
``start`` a prober began: ``pid``, ``boot`` (boot id of the machine), ``host``, ``probes``, and the pair ``epoch`` and
          ``mono`` (Unix time and CLOCK_MONOTONIC, read together) from which all its stamps follow
``clock`` the wall clock and the monotonic one have moved against each other by ``step`` seconds since the start (an
          operator or NTP set the clock; stamps go on as before), or the machine slept (``slept``; stamps moved on)
``full``  the disk took no more; ``dropped`` samples are missing
``end``   the prober was told to stop at ``epoch``, asked no more, and has written everything; ``asked`` counts
          questions, ``late`` those that began more than 5 ms after they were due, ``worst`` is the latest
========= ==========================================================================================

A killed prober leaves at most a torn last line: readers wait for its end, and the next prober begins a new line.
Lines that are no JSON are skipped and counted, never guessed at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec

from underway.core.model.base import Value
from underway.core.model.sample import Sample


class Mark(Value, frozen=True, kw_only=True):
    """A line about the prober itself."""

    mark: Literal["start", "clock", "full", "end"]
    epoch: float = 0.0
    mono: float = 0.0
    pid: int = 0
    boot: str = ""
    host: str = ""
    probes: tuple[str, ...] = ()
    step: float = 0.0
    slept: float = 0.0
    dropped: int = 0
    asked: int = 0
    late: int = 0
    worst: float = 0.0


_SAMPLE = msgspec.json.Decoder(Sample, strict=True)
_MARK = msgspec.json.Decoder(Mark, strict=True)
_ENCODER = msgspec.json.Encoder(order="sorted")


def encode(line: Sample | Mark) -> bytes:
    """One line, with its end."""
    return _ENCODER.encode(line) + b"\n"


@dataclass(slots=True)
class Chunk:
    """What a read found: samples and marks in file order, where to go on, and how many lines were broken."""

    samples: list[Sample] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    offset: int = 0
    torn: int = 0


def parse(data: bytes, chunk: Chunk) -> None:
    """Add whole lines to ``chunk``; does not touch its offset."""
    for line in data.split(b"\n"):
        if not line:
            continue
        try:
            if b'"mark":' in line:
                chunk.marks.append(_MARK.decode(line))
            else:
                chunk.samples.append(_SAMPLE.decode(line))
        except (msgspec.DecodeError, UnicodeDecodeError):
            chunk.torn += 1


def read_chunk(path: Path, offset: int = 0, most: int = 8 * 1024 * 1024) -> Chunk:
    """Whole lines from ``offset`` on, about ``most`` bytes of them; a file that is not there yet has none.

    A line without its end is left for the next call. Raises OSError where the file cannot be read.
    """
    chunk = Chunk(offset=offset)
    try:
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read(most)
    except FileNotFoundError:
        return chunk
    end = data.rfind(b"\n") + 1
    if end == 0 and len(data) >= most:
        end = len(data)  # no line is so long: skip the rubbish instead of waiting for its end for ever
    chunk.offset += end
    parse(data[:end], chunk)
    return chunk


def read(path: Path, offset: int = 0) -> tuple[list[Sample], int]:
    """All whole sample lines from ``offset`` on, and where to go on next time."""
    samples: list[Sample] = []
    while True:
        chunk = read_chunk(path, offset)
        samples += chunk.samples
        if chunk.offset == offset:
            return samples, offset
        offset = chunk.offset


class Tail:
    """Follows the files of several probers.

    Each probe belongs to one prober at a time (a successor may go on in another file). Another vantage
    point gives its probes names of its own: what two places see is not mixed into one account.
    """

    def __init__(self, directory: Path | None = None, paths: Sequence[Path] = ()) -> None:
        self._directory = directory
        self._offsets: dict[Path, int] = dict.fromkeys(paths, 0)
        self.torn = 0
        self.marks: dict[Path, list[Mark]] = {}

    def ended(self) -> float:
        """When the last prober was told to stop (Unix seconds), 0 while one is at work or was killed.

        The moment at which a final account ends: nothing was to be asked after it.
        """
        last = [marks[-1] for marks in self.marks.values()]
        return max((mark.epoch for mark in last), default=0.0) if all(mark.mark == "end" for mark in last) else 0.0

    def poll(self, most: int = 8 * 1024 * 1024) -> list[Sample]:
        """New samples of all files, in the order of their due times; files that appear are taken up.

        At most about ``most`` bytes a file are read: call again while the list is not empty to catch up.
        """
        if self._directory is not None:
            for path in sorted(self._directory.glob("*.jsonl")):
                self._offsets.setdefault(path, 0)
        found: list[Sample] = []
        for path, offset in self._offsets.items():
            chunk = read_chunk(path, offset, most)
            self._offsets[path] = chunk.offset
            self.torn += chunk.torn
            if chunk.marks:
                kept = self.marks.setdefault(path, [])
                kept += chunk.marks
                del kept[:-1000]
            found += chunk.samples
        found.sort(key=lambda sample: sample.due)
        return found
