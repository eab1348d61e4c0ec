"""The command line: finds the command, builds its options, calls it. Nothing heavy is imported before that."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

from densecf import __version__
from densecf.commands.table import COMMANDS
from densecf.errors import ConfigError, DensecfError
from densecf.methods import METHODS
from densecf.processes import process_rank

SHARED = ("pretrain", "counterfactuals train")
"""Commands that several processes do together; any other one would be done, and written, once by each of them."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit code: 0, 2 for what the user can mend, 130 for Ctrl-C."""
    argv = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _run(argv)
    except DensecfError as error:
        print(f"densecf: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("densecf: stopped" + _how_to_go_on(argv), file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 0


def _how_to_go_on(argv: list[str]) -> str:
    if argv[:1] in (["pretrain"], ["finetune"], ["probe"]) or argv[:2] == ["counterfactuals", "train"]:
        return "; continue with --resume"
    again = (["data", "prepare"], ["counterfactuals", "generate"], ["counterfactuals", "import"])
    return "; the same command goes on" if argv[:2] in again or argv[:1] == ["benchmark"] else ""


def _run(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help"):
        print(overview())
        return 0
    if argv[0] == "--version":
        print(f"densecf {__version__}")
        return 0
    words = _command_words(argv)
    if not words:
        asked = " ".join(word for word in argv[:3] if not word.startswith("-"))
        near = [name for name in COMMANDS if name.startswith(argv[0] + " ")]
        if near and (argv[-1] in ("-h", "--help") or len(argv) == 1):
            print(overview(near))
            return 0
        print(f"densecf: error: no command {asked!r}; there are: {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    name, rest = " ".join(argv[:words]), argv[words:]
    if process_rank() and name not in SHARED:
        raise ConfigError(f"{name} runs in one process: start it without torchrun, and with one task under Slurm")
    command = COMMANDS[name]
    options = parse(name, rest)
    function: Callable = getattr(import_module(f"densecf.commands.{command.module}"), command.function)
    with _own_warnings():
        function(options)
    return 0


@contextmanager
def _own_warnings() -> Iterator[None]:
    """Warnings of ours are sentences for the user, without the line of code that they come from."""
    usual, package = warnings.formatwarning, str(Path(__file__).parent)

    def said(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
    ) -> str:
        if filename.startswith(package) and category is UserWarning:
            return f"densecf: warning: {message}\n"
        return usual(message, category, filename, lineno, line)

    warnings.formatwarning = said
    try:
        yield
    finally:
        warnings.formatwarning = usual


def parse(name: str, arguments: list[str]):
    """The options of a command from its flags, over its preset, its ``--config`` file or the run it resumes.

    Raises:
        ConfigError: listing every option that does not fit.
    """
    import tyro

    from densecf.commands import defaults, options

    command = COMMANDS[name]
    kind = getattr(options, command.options)
    default = defaults.default_options(name, kind, arguments)
    parsed = tyro.cli(
        kind,
        args=arguments,
        default=default,
        prog=f"densecf {name}",
        description=_description(name),
    )
    return defaults.checked(name, parsed, default)


def overview(names: Sequence[str] = tuple(COMMANDS)) -> str:
    """What ``densecf --help`` prints."""
    width = max(map(len, names)) + 2
    return "\n".join(
        [
            f"densecf {__version__}: pixel-level counterfactual contrastive pretraining for medical image segmentation",
            "",
            "Try it without any data (an embedded phantom is used):",
            "  densecf pretrain --method s-mvd-cl",
            "  densecf finetune --folds 5",
            "  densecf chromap image.png",
            "",
            "Commands (densecf COMMAND --help tells all options):",
            *(f"  {name:<{width}}{COMMANDS[name].summary}" for name in names),
        ]
    )


def _command_words(argv: list[str]) -> int:
    """How many leading words name a command; 0 when none does."""
    return next((count for count in (3, 2, 1) if " ".join(argv[:count]) in COMMANDS), 0)


def _description(name: str) -> str:
    summary = COMMANDS[name].summary
    lines = [summary[0].upper() + summary[1:] + ".", "", "Examples:"]
    lines += [f"  {example}" for example in COMMANDS[name].examples]
    if name in ("pretrain", "finetune"):
        lines += ["", f"Defaults are those for --data; those for the phantom: densecf {name} --preset embedded --help"]
    if name == "pretrain":
        lines += ["", "Methods:", *(f"  {method:<13} {row.summary}" for method, row in METHODS.items())]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
