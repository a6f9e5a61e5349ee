"""Who is hired, dismissed and replaced: decisions only, no process."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cellspan.engine.scheduler.crew import REPLACEMENT_S, REPLACEMENTS, Crew


def test_hires_until_there_are_enough() -> None:
    crew = Crew(2)
    assert crew.hire() == ["worker-1", "worker-2"]
    assert crew.hire() == []
    crew.scale(3)
    assert crew.hire() == ["worker-3"]


def test_dismisses_the_least_needed_then_the_youngest() -> None:
    crew = Crew(4)
    crew.hire()
    crew.scale(2)
    assert crew.dismiss(["worker-2", "a worker by hand"]) == ["worker-2", "worker-4"]
    assert crew.members == ["worker-1", "worker-3"]
    assert not crew.on_ended("worker-2", "exit code 0", 0)  # as asked for
    assert crew.hire() == []


def test_replaces_the_dead_but_not_for_ever() -> None:
    crew = Crew(1)
    [name] = crew.hire()
    for _ in range(REPLACEMENTS):
        assert crew.on_ended(name, "signal 9", 10)
        [name] = crew.hire()
    assert crew.trouble == ""
    assert crew.on_ended(name, "signal 9", 11)
    assert "signal 9" in crew.trouble and name in crew.trouble
    assert crew.hire() == []
    crew.scale(1)
    assert crew.trouble == "" and len(crew.hire()) == 1


def test_deaths_of_long_ago_do_not_count() -> None:
    crew = Crew(1)
    for number in range(10):
        [name] = crew.hire()
        crew.on_ended(name, "exit code 1", number * REPLACEMENT_S / REPLACEMENTS + number)
    assert crew.trouble == ""


def test_what_is_not_ours_is_no_concern() -> None:
    crew = Crew(1)
    crew.hire()
    assert not crew.on_ended("somebody", "exit code 1", 0)
    assert crew.members == ["worker-1"]


@given(
    st.lists(st.tuples(st.sampled_from(["scale", "die", "end"]), st.integers(1, 6)), max_size=30)
)
def test_there_are_always_as_many_as_wanted(events: list[tuple[str, int]]) -> None:
    crew, names, now = Crew(1), set(), 0.0
    for kind, number in [("scale", 1), *events]:
        now += 40
        if kind == "scale":
            crew.scale(number)
        elif crew.members:
            crew.on_ended(crew.members[number % len(crew.members)], "exit code 1", now)
        for name in crew.dismiss([]):
            assert not crew.on_ended(name, "exit code 0", now)
        hired = crew.hire()
        assert not names & set(hired)
        names |= set(hired)
        assert len(crew.members) == crew.wanted
