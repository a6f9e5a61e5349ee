"""The words of `%cluster`: its subcommands, their options and help.

Law: turns a line into a `Command` or says in a sentence what is wrong with it (`BadLine`);
`HelpAsked` carries the help. It prints nothing, exits nowhere, and does nothing with the command.
Completion reads the same parsers, so that there is one list of options.
"""

from __future__ import annotations

import argparse
import difflib
import shlex
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

LIFETIMES = ("kernel", "server", "detached")
LISTENS = ("unix", "tcp")
VIEWS = ("groups", "activity")

SUMMARY = {
    "start": "start a cluster and attach this notebook to it",
    "list": "list your clusters, wherever they were started",
    "status": "show workers, cores, memory and tasks of a cluster",
    "scale": "have another number of workers",
    "stop": "stop a cluster: its workers and all results they hold",
    "attach": "make `client` for a cluster that runs already",
    "logs": "show what tasks printed and what workers said",
    "view": "show a live picture of a cluster below this cell",
}


class BadLine(Exception):
    """The line cannot be understood; the text says why and what to do."""


class HelpAsked(Exception):
    """The line asks for help; the text is the help."""


class _Parser(argparse.ArgumentParser):
    """An argument parser that raises instead of printing and exiting."""

    def error(self, message: str) -> NoReturn:
        hint = "" if self.prog == "%cluster" else f" See `{self.prog} --help`."
        raise BadLine(f"{message[:1].upper()}{message[1:]}.{hint}")

    def print_help(self, file: Any = None) -> NoReturn:
        raise HelpAsked(self.format_help())

    def _get_formatter(self) -> argparse.HelpFormatter:
        return argparse.HelpFormatter(self.prog, width=96)


def make_parsers() -> dict[str, argparse.ArgumentParser]:
    """Return one parser per subcommand, in the order of the help."""
    parsers: dict[str, argparse.ArgumentParser] = {
        name: _Parser(
            prog=f"%cluster {name}",
            description=f"{text[:1].upper()}{text[1:]}.",
            allow_abbrev=False,
        )
        for name, text in SUMMARY.items()
    }
    _fill_start(parsers["start"])
    for name in ("status", "stop", "attach", "logs"):
        _add_name(parsers[name])
    _add_name(parsers["scale"])
    parsers["scale"].add_argument(
        "workers", metavar="N", type=_whole_number, help="number of workers to have, at least 1"
    )
    _add_as(parsers["attach"])
    _fill_logs(parsers["logs"])
    parsers["view"].add_argument("view", choices=VIEWS, help="which picture")
    _add_name(parsers["view"])
    return parsers


def _fill_start(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME", help="default: a free name (local, ...)")
    parser.add_argument(
        "--workers",
        metavar="N",
        type=_whole_number,
        default=1,
        help="number of workers; a worker stands for one machine (default: 1)",
    )
    parser.add_argument(
        "--cores",
        metavar="N",
        type=_whole_number,
        help="cores of each worker (default: all of this machine)",
    )
    parser.add_argument(
        "--memory",
        metavar="SIZE",
        help="memory of each worker, such as 4GB (default: its share of this machine)",
    )
    parser.add_argument(
        "--resources",
        metavar="WHAT",
        help="what tasks can ask of each worker, such as GPU=2,licence=1 (default: the GPUs found)",
    )
    parser.add_argument(
        "--lifetime",
        choices=LIFETIMES,
        help="when it ends by itself: with this kernel, with the Jupyter server, or (detached) "
        "when idle for an hour (default: server in Jupyter, otherwise kernel)",
    )
    parser.add_argument(
        "--listen",
        choices=LISTENS,
        default="unix",
        help="unix: for this machine only; tcp: for others too, encrypted (default: unix)",
    )
    parser.add_argument(
        "--reuse",
        action="store_true",
        help="attach to the cluster of this name if there is one, and start it only if not",
    )
    _add_as(parser)


def _fill_logs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--source", metavar="S", help="a worker's name, or `scheduler` (default: all)"
    )
    parser.add_argument(
        "--lines",
        metavar="N",
        type=_whole_number,
        default=50,
        help="newest lines of each source (default: 50)",
    )


def _add_name(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "name",
        nargs="?",
        metavar="NAME",
        help="default: the cluster this notebook is attached to, or the only one there is",
    )


def _add_as(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--as",
        dest="variable",
        metavar="VARIABLE",
        default=None,
        help="name of the variable for the client (default: client)",
    )


def _whole_number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None


def parse_line(line: str, parsers: dict[str, argparse.ArgumentParser]) -> argparse.Namespace:
    """Return the arguments of a line, `command` among them; None stands for an option not given.

    Raises `BadLine`, or `HelpAsked` where the line asks for help.
    """
    try:
        words = shlex.split(line, comments=True)
    except ValueError as error:
        raise BadLine(f"Cannot read the line: {error}.") from None
    if not words:
        raise HelpAsked(overview())
    command, *rest = words
    if command in ("-h", "--help", "help"):
        if rest and rest[0] in parsers:
            raise HelpAsked(parsers[rest[0]].format_help())
        raise HelpAsked(overview())
    if command not in parsers:
        known = ", ".join(parsers)
        raise BadLine(
            f"`%cluster {command}` is not a command.{suggest(command, parsers)} There are: {known}."
        )
    parser = parsers[command]
    arguments = _parse_words(parser, rest)
    arguments.command = command
    return arguments


def _parse_words(parser: argparse.ArgumentParser, words: list[str]) -> argparse.Namespace:
    arguments, unknown = parser.parse_known_args(words)
    if unknown:
        options = [text for action in parser._actions for text in action.option_strings]
        what = "option" if unknown[0].startswith("-") else "word"
        hint = suggest(unknown[0].split("=")[0], options) if what == "option" else ""
        raise BadLine(f"Unknown {what} {unknown[0]}.{hint} See `{parser.prog} --help`.")
    return arguments


def suggest(word: str, known: Iterable[str]) -> str:
    """Return `` Did you mean X?`` (with a space before it), or nothing when no known word is
    near."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" Did you mean {near[0]}?" if near else ""


def overview() -> str:
    """Return the help of `%cluster` as a whole."""
    lines = ["Usage: %cluster COMMAND [...]     (%cluster COMMAND --help says more)", ""]
    lines += [f"  {name:<8}{text}" for name, text in SUMMARY.items()]
    return "\n".join(lines)


def list_options(parser: argparse.ArgumentParser) -> dict[str, Sequence[str] | None]:
    """Return each long option of a parser with its choices: None where it takes any value, () where
    none."""
    found: dict[str, Sequence[str] | None] = {}
    for action in parser._actions:
        for text in action.option_strings:
            if text.startswith("--"):
                takes_none = action.nargs == 0
                choices = tuple(action.choices) if action.choices else None
                found[text] = () if takes_none else choices
    return found
