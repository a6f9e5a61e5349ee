"""The words of `%cluster`: what lines mean, what is said of lines that mean nothing."""

from __future__ import annotations

import pytest

from cellspan.kernel_ext.command_line import SUMMARY, BadLine, HelpAsked, make_parsers, parse_line

PARSERS = make_parsers()


def test_a_start_with_every_option() -> None:
    line = (
        "start demo --workers 3 --cores 2 --memory 4GB --resources GPU=2 --lifetime detached "
        "--listen tcp --as mine"
    )
    found = vars(parse_line(line, PARSERS))
    assert found == {
        "command": "start",
        "name": "demo",
        "workers": 3,
        "cores": 2,
        "memory": "4GB",
        "resources": "GPU=2",
        "lifetime": "detached",
        "listen": "tcp",
        "reuse": False,
        "variable": "mine",
    }


def test_what_is_left_out_is_left_to_the_manager() -> None:
    found = parse_line("start", PARSERS)
    assert (found.name, found.cores, found.memory, found.lifetime) == (None, None, None, None)
    assert (found.workers, found.listen) == (1, "unix")


@pytest.mark.parametrize(
    ("line", "name", "workers"), [("scale 4", None, 4), ("scale demo 4", "demo", 4)]
)
def test_scale_with_and_without_a_name(line: str, name: str | None, workers: int) -> None:
    found = parse_line(line, PARSERS)
    assert (found.name, found.workers) == (name, workers)


def test_a_negative_number_is_a_number_and_not_an_option() -> None:
    assert parse_line("scale demo -1", PARSERS).workers == -1
    assert parse_line("start --workers -1", PARSERS).workers == -1


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("strat", "`%cluster strat` is not a command. Did you mean start?"),
        ("start --wokers 3", "Unknown option --wokers. Did you mean --workers?"),
        ("start one two", "Unknown word two."),
        ("start --workers many", "'many' is not a whole number"),
        ("scale demo", "'demo' is not a whole number"),
        ("scale", "required: N"),
        ("start --lifetime forever", "invalid choice: 'forever'"),
        ("logs --lines", "expected one argument"),
        ("view trees", "invalid choice: 'trees'"),
        ("start 'demo", "No closing quotation"),
    ],
)
def test_a_line_that_means_nothing_is_answered_in_words(line: str, words: str) -> None:
    with pytest.raises(BadLine) as caught:
        parse_line(line, PARSERS)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("line", ["", "   ", "--help", "-h", "help"])
def test_help_names_every_command(line: str) -> None:
    with pytest.raises(HelpAsked) as caught:
        parse_line(line, PARSERS)
    for command, text in SUMMARY.items():
        assert command in str(caught.value)
        assert text in str(caught.value)


@pytest.mark.parametrize("line", ["start --help", "help start"])
def test_help_of_one_command_names_its_options(line: str) -> None:
    with pytest.raises(HelpAsked) as caught:
        parse_line(line, PARSERS)
    for option in ("--workers", "--cores", "--memory", "--lifetime", "--listen", "--as"):
        assert option in str(caught.value)
