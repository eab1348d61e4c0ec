"""Files of every kind that densecf reads, spoilt in thousands of ways: refused in our words, or read rightly.

Three sources of inputs: valid files that are spoilt byte by byte (`spoilt`), texts put together from what such files
hold (`composed`), and for byte parsers a coverage-guided fuzzer (`chaos.guided`, where atheris is installed).
"""

from __future__ import annotations

import json
import math
import random
import signal
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from densecf.errors import DensecfError

SLOW = 10
"""Seconds of processor time that no small file may take: a busy machine is not the parser's fault."""
_NUMBERS = [
    "-1",
    "0",
    "1",
    "2147483648",
    "99999999999",
    "1e308",
    "nan",
    "inf",
    "-0",
    "1_0",
    "0x10",
    "",
    "None",
    "\u0661",
]


@dataclass(frozen=True)
class Parser:
    """Something that reads a file.

    Attributes:
        name: for the table.
        file: name of the file that is spoilt; messages must name it.
        seeds: valid contents.
        read: path -> what is in it.
        check: (path, what was read) -> "" when a slow and independent look agrees, else what is wrong.
        words: pieces that contents are composed of; none for files of bytes.
    """

    name: str
    file: str
    seeds: tuple[bytes, ...]
    read: Callable[[Path], Any]
    check: Callable[[Path, Any], str] = lambda path, value: ""
    words: tuple[str, ...] = ()


@dataclass
class Fuzzed:
    """The counts for one parser.

    Attributes:
        parser: which.
        inputs: how many files.
        accepted, refused: read, or refused by a densecf error that names the file.
        tracebacks: other exceptions.
        unnamed: densecf errors that do not name the file.
        wrong: read, but the independent look disagrees.
        slow: took more than `SLOW` seconds of processor time.
        seconds: of processor time, altogether.
        notes: the first input of each kind of failure.
    """

    parser: str
    inputs: int = 0
    accepted: int = 0
    refused: int = 0
    tracebacks: int = 0
    unnamed: int = 0
    wrong: int = 0
    slow: int = 0
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)

    @property
    def failures(self) -> int:
        return self.tracebacks + self.unnamed + self.wrong + self.slow


class _Slow(BaseException):
    """Not an Exception: a parser that catches everything must not catch the clock."""


def fuzz(parser: Parser, inputs: int, seed: int = 0, seconds: float = math.inf) -> Fuzzed:
    """Gives a parser so many spoilt files, the valid ones first; fewer when so much processor time is spent."""
    draw = random.Random(f"{seed} {parser.name}")
    found, seen, started = Fuzzed(parser.name), Counter[str](), time.process_time()
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / parser.file
        path.parent.mkdir(parents=True, exist_ok=True)
        for number in range(inputs):
            if time.process_time() - started > seconds:
                break
            if number < len(parser.seeds):
                content = parser.seeds[number]
            elif parser.words and draw.random() < 0.4:
                content = composed(draw, parser.words)
            else:
                content = spoilt(draw, parser.seeds)
            kind, why = try_one(parser, path, content)
            found.inputs += 1
            setattr(found, kind, getattr(found, kind) + 1)
            if kind not in ("accepted", "refused"):
                seen[why[:60]] += 1
                if seen[why[:60]] == 1 and len(found.notes) < 12:
                    found.notes.append(f"{kind}: {why[:600]}\n      from {content[:200]!r}")
    found.seconds = round(time.process_time() - started, 1)
    return found


def try_one(parser: Parser, path: Path, content: bytes) -> tuple[str, str]:
    """How a parser takes one file: the name of a count of `Fuzzed`, and why."""
    path.write_bytes(content)
    previous = signal.signal(signal.SIGPROF, _ring)
    signal.setitimer(signal.ITIMER_PROF, SLOW)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = parser.read(path)
            wrong = parser.check(path, value)
        return ("wrong", wrong) if wrong else ("accepted", "")
    except DensecfError as error:
        named = path.name in str(error) or str(path.parent) in str(error)  # or a file beside it, of one folder with it
        return ("refused", "") if named else ("unnamed", str(error))
    except _Slow:
        return "slow", "".join(traceback.format_stack(limit=4))
    except Exception as error:
        return "tracebacks", f"{type(error).__name__}: {error} {traceback.format_exc(limit=-2)[-400:]}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, previous)


def _ring(*_: object) -> None:
    raise _Slow


def spoilt(draw: random.Random, seeds: Sequence[bytes]) -> bytes:
    """A valid file with a few bytes flipped, cut out, doubled, moved, or mixed with another one's."""
    content = bytearray(draw.choice(seeds))
    for _ in range(draw.choice((1, 1, 1, 2, 4, 16))):
        if not content:
            break
        place = draw.randrange(len(content))
        size = min(len(content) - place, int(draw.expovariate(0.1)) + 1)
        match draw.randrange(9):
            case 0:
                content[place] ^= 1 << draw.randrange(8)
            case 1:
                content[place] = draw.choice((0, 1, 10, 34, 44, 58, 91, 123, 127, 128, 255))
            case 2:
                del content[place : place + size]
            case 3:
                content[place:place] = content[place : place + size]
            case 4:
                other = draw.choice(seeds)
                start = draw.randrange(len(other) or 1)
                content[place : place + size] = other[start : start + size]
            case 5:
                del content[place:]
            case 6:
                width = draw.choice((1, 2, 4, 8))
                value = draw.choice((0, 1, 2 ** (8 * width - 1) - 1, 2 ** (8 * width - 1), 2 ** (8 * width) - 1))
                content[place : place + width] = value.to_bytes(width, draw.choice(("little", "big")))
            case 7:
                content[place : place + size] = draw.choice(_NUMBERS).encode()
            case 8:
                content[place:place] = bytes(draw.randrange(256) for _ in range(min(size, 8)))
    return bytes(content[: 1 << 20])


def composed(draw: random.Random, words: Sequence[str]) -> bytes:
    """Words in a row, some of them often, some numbers that nobody expects."""
    count = int(draw.expovariate(0.05)) + 1
    own = draw.sample(list(words), min(len(words), 8))
    pick = [draw.choice(own if draw.random() < 0.7 else list(words)) for _ in range(count)]
    text = "".join(draw.choice(_NUMBERS) if draw.random() < 0.05 else word for word in pick)
    return text.encode("utf-8", "surrogatepass" if draw.random() < 0.01 else "replace")


def json_words(value: Any) -> tuple[str, ...]:
    """The pieces of a JSON value: keys, texts, numbers and signs."""
    text = json.dumps(value)
    keys = {part for part in text.replace(":", "\n").replace(",", "\n").split("\n") if part.strip()}
    return (*sorted(keys), "{", "}", "[", "]", ":", ",", " ", "null", "true", "[[[[", "{}", '""')
