"""Tab completion of `%cluster`: subcommands, options, their values, and names of clusters.

Law: must answer at once, so it reads connection files and asks a cluster only for the names behind
`--source`; it changes nothing, and offers nothing rather than fail.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

from IPython.core.completer import (
    CompletionContext,
    SimpleCompletion,
    SimpleMatcherResult,
    context_matcher,
)

from .command_line import VIEWS, list_options

TAKES_NAME = frozenset({"status", "scale", "stop", "attach", "logs", "view"})


class Completer:
    """Completes lines that begin with `%cluster` (or `cluster`: IPython's automagic)."""

    def __init__(
        self,
        parsers: dict[str, argparse.ArgumentParser],
        list_names: Callable[[], Sequence[str]],
        list_sources: Callable[[], Sequence[str]],
    ) -> None:
        """`list_names` and `list_sources` return names of clusters and of the attached cluster's
        log sources."""
        self._parsers = parsers
        self._list_names = list_names
        self._list_sources = list_sources

        def match(context: CompletionContext) -> SimpleMatcherResult:
            return self._match(context)  # IPython marks the function; a method cannot be marked

        self.matcher = context_matcher(identifier="cellspan.cluster")(match)

    def _match(self, context: CompletionContext) -> SimpleMatcherResult:
        line = context.line_with_cursor[: len(context.text_until_cursor)].lstrip()
        words: list[str] = []
        if line.partition(" ")[0] in ("%cluster", "cluster") and " " in line:
            try:
                words = self.complete(line)
            except Exception:  # a broken file of a cluster must not break the Tab key
                words = []
        completions = [SimpleCompletion(word, type="param") for word in words]
        # Where this speaks, names of Python mean nothing.
        return {"completions": completions, "ordered": True, "suppress": bool(words)}

    def complete(self, line: str) -> list[str]:
        """Return the words that may stand where `line` ends, the one that is being written
        included."""
        words = line.split()[1:]  # without %cluster
        if line.endswith((" ", "\t")):
            words.append("")
        *before, current = words or [""]
        if not before:
            return [word for word in self._parsers if word.startswith(current)]
        parser = self._parsers.get(before[0])
        if parser is None:
            return []
        return [
            word
            for word in self._candidates(before[0], parser, before[1:])
            if word.startswith(current)
        ]

    def _candidates(
        self, command: str, parser: argparse.ArgumentParser, before: list[str]
    ) -> list[str]:
        options = list_options(parser)
        last = before[-1] if before else ""
        if last in options and options[last] != ():
            if last == "--source":
                return list(self._list_sources())
            return list(options[last] or ())
        unused = [text for text in options if text not in before]
        return [*self._positional(command, options, before), *unused]

    def _positional(
        self, command: str, options: dict[str, Sequence[str] | None], before: list[str]
    ) -> list[str]:
        given = [
            word
            for i, word in enumerate(before)
            if not word.startswith("-") and not (i and options.get(before[i - 1], ()) != ())
        ]
        if command == "view" and not given:
            return list(VIEWS)
        if command in TAKES_NAME and len(given) == (1 if command == "view" else 0):
            return list(self._list_names())
        return []
