"""``python -m chaos``: kills, full disks and fuzzed files; prints a table and writes it as JSON and Markdown.

python -m chaos                                    # all, in about an hour
python -m chaos --kills 20 --inputs 0              # the kills alone
python -m chaos --kills 0 --inputs 10000 --only PNG
python -m chaos --go-on                            # what an earlier one left to do
"""

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from chaos import disks, fuzz, guided, kills, parsers, table, trials


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m chaos", description=__doc__.split("\n")[0])
    options.add_argument("--kills", type=int, default=20, help="of every command")
    options.add_argument("--inputs", type=int, default=10_000, help="to every parser")
    options.add_argument("--guided", type=int, default=10_000, help="to every byte parser, led by coverage (atheris)")
    options.add_argument("--disks", action=argparse.BooleanOptionalAction, default=True, help="full and read-only")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--only", nargs="*", default=[], help="commands or parsers, by their names")
    options.add_argument("--seconds", type=float, default=600, help="of processor time for each parser, at most")
    options.add_argument("--go-on", action="store_true", help="keep the rows in --out, add those that are missing")
    options.add_argument("--minutes", type=float, default=90, help="nothing is begun after that")
    options.add_argument("--out", type=Path, default=Path("build/chaos"))
    given = options.parse_args()
    deadline = time.monotonic() + 60 * given.minutes
    found: dict[str, list[dict]] = {"kills": [], "full": [], "read-only": [], "fuzzed": [], "guided": []}
    if given.go_on and (given.out / "chaos.json").exists():
        found |= json.loads((given.out / "chaos.json").read_text())
    done = {(kind, next(iter(row.values()))) for kind, rows in found.items() for row in rows}

    def due(kind: str, name: str) -> bool:
        return time.monotonic() < deadline and (not given.only or name in given.only) and (kind, name) not in done

    def keep(kind: str, row: Any) -> None:
        found[kind].append(asdict(row))
        given.out.mkdir(parents=True, exist_ok=True)
        (given.out / "chaos.json").write_text(json.dumps(found, indent=1))
        (given.out / "chaos.md").write_text(table.markdown(found))

    with TemporaryDirectory(prefix="densecf-chaos-") as folder:
        if given.inputs:
            for parser in parsers.all_parsers():
                if due("fuzzed", parser.name):
                    keep("fuzzed", _shown(fuzz.fuzz(parser, given.inputs, given.seed, given.seconds)))
        if given.guided and guided.installed():
            for name in guided.TARGETS:
                if due("guided", name):
                    keep("guided", _shown(guided.run(name, given.guided, given.seed, given.seconds)))
        to_kill = [trial for trial in trials.TRIALS if given.kills and due("kills", trial.command)]
        to_fill = [trial for trial in trials.TRIALS if given.disks and due("full", trial.command)]
        if to_kill or to_fill:
            shop = kills.Workshop(Path(folder) / "work", [*to_kill, *to_fill])
        for trial in trials.TRIALS:
            if trial in to_kill and due("kills", trial.command):
                keep("kills", kills.try_command(shop, trial, given.kills, given.seed, _say))
            if trial in to_fill and due("full", trial.command):
                for kind, counts in disks.try_one(shop, trial).items():
                    keep(kind, counts)
    print(table.markdown(found))


def _say(line: str) -> None:
    print(line, flush=True)


def _shown(found: fuzz.Fuzzed) -> fuzz.Fuzzed:
    _say(f"{found.parser:<28}{found.inputs:>7} inputs {found.failures:>4} failures {found.seconds:>7.1f} s")
    for note in found.notes:
        _say(f"    {note}")
    return found


if __name__ == "__main__":
    main()
