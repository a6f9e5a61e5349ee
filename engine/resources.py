"""What workers offer beside slots, and what tasks ask of it: one form for everybody who has to
check or count it.

An offer is ``{name: amount}`` of a worker. A whole number up to MAX_UNITS is a count of things that
are dealt out one by one, under the names 0, 1, ...; a list gives the things names of their own (the
devices of a machine). Any other number is an amount that tasks share, such as bytes of memory.

What a task asks is ``{name: number}``: of counted things a whole number, of amounts any.

Law: plain data and arithmetic on whole numbers; sums of amounts are exact. Looks at nothing
outside.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from .errors import InvalidArgument

MAX_UNITS = 1024
MAX_NAMES = 64
MAX_AMOUNT = 1e18
MAX_NAME_CHARS = 100
GPU = "GPU"

FINENESS = 10_000
"""Amounts are counted in parts of 1/FINENESS."""

Unit: TypeAlias = int | str
"""The name of one counted thing."""

Offer: TypeAlias = dict[str, int | float | list[Unit]]
Ask: TypeAlias = dict[str, int | float]
Grant: TypeAlias = dict[str, int | float | list[Unit]]
"""What a running task was given: of counted things their names, of amounts the amount."""


def check_ask(resources: Any) -> Ask:
    """Return what a task asks for. Raises: InvalidArgument: that cannot be."""
    checked: Ask = {}
    for name, amount in _check_names(resources).items():
        if not _is_number(amount) or amount <= 0 or amount > MAX_AMOUNT:
            raise InvalidArgument(
                f"resources: {amount!r} of {name!r} cannot be asked for; give a number above 0"
            )
        checked[name] = int(amount) if float(amount).is_integer() and amount < 1 << 53 else amount
    return checked


def check_offer(resources: Any) -> Offer:
    """Return what a worker offers. Raises: InvalidArgument: that cannot be."""
    checked: Offer = {}
    for name, amount in _check_names(resources).items():
        if isinstance(amount, list | tuple):
            units = list(amount)
            if not all(isinstance(unit, str) or type(unit) is int for unit in units):
                raise InvalidArgument(f"resources: the things of {name!r} are named by {units!r}")
            if len(set(map(str, units))) != len(units) or not 1 <= len(units) <= MAX_UNITS:
                raise InvalidArgument(
                    f"resources: {name!r} has {len(units)} things, or two of one name; there can "
                    f"be 1 to {MAX_UNITS}, of different names"
                )
            checked[name] = units
        elif not _is_number(amount) or not 0 <= amount <= MAX_AMOUNT:
            raise InvalidArgument(
                f"resources: a worker cannot offer {amount!r} of {name!r}; give a number, whole "
                "for things that are dealt out one by one"
            )
        elif amount:
            checked[name] = amount
    return checked


def _check_names(resources: Any) -> dict[str, Any]:
    if not isinstance(resources, Mapping) or not resources:
        raise InvalidArgument(
            f'resources is a dict like {{"GPU": 1}} with something in it, not {resources!r}'
        )
    if len(resources) > MAX_NAMES:
        raise InvalidArgument(f"resources: {len(resources)} names; the limit is {MAX_NAMES}")
    for name in resources:
        if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME_CHARS:
            raise InvalidArgument(f"resources are named by short texts, not by {name!r}")
    return dict(resources)


def _is_number(amount: Any) -> bool:
    is_number = isinstance(amount, int | float) and not isinstance(amount, bool)
    return is_number and math.isfinite(amount)


def parse_offer(text: str) -> Offer:
    """Return the offer of a text like ``GPU=2,memory=4e9``, or with names ``GPU=0+3``.

    Raises: InvalidArgument: it is none.
    """
    found: dict[str, Any] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, equals, amount = part.partition("=")
        if not equals:
            raise InvalidArgument(f"resources: {part!r} is not of the form NAME=NUMBER")
        if "+" in amount and not amount[:1].isspace() and "e+" not in amount.lower():
            found[name.strip()] = [int(u) if u.isdigit() else u for u in amount.split("+")]
            continue
        try:
            found[name.strip()] = int(amount) if amount.strip().isdigit() else float(amount)
        except ValueError:
            raise InvalidArgument(f"resources: {amount!r} in {part!r} is not a number") from None
    return check_offer(found)


# --- counting -------------------------------------------------------------------------------------


def parts_of(amount: int | float) -> int:
    """Return an amount as a whole number of its parts."""
    return amount * FINENESS if isinstance(amount, int) else round(amount * FINENESS)


def units_of(offered: int | float | list[Unit]) -> list[Unit] | None:
    """Return the names of the things that are offered, None if it is an amount."""
    if isinstance(offered, list):
        return offered
    if isinstance(offered, int) and offered <= MAX_UNITS:
        return list(range(offered))
    return None


def amount_of(offered: int | float | list[Unit]) -> int | float:
    """Return how much is offered, as a number."""
    return len(offered) if isinstance(offered, list) else offered


def can_serve(offer: Offer, ask: Ask) -> bool:
    """Tell whether a worker that had nothing else to do could run a task that asks for this."""
    for name, amount in ask.items():
        offered = offer.get(name)
        if offered is None or parts_of(amount_of(offered)) < parts_of(amount):
            return False
        if not isinstance(amount, int) and units_of(offered) is not None:
            return False  # a part of a thing cannot be dealt out
    return True


def ask_text(ask: Mapping[str, int | float]) -> str:
    """Return what is asked for in words: ``GPU=1, memory=2e+09``."""
    return ", ".join(f"{name}={amount:g}" for name, amount in ask.items())


def offers_text(offers: Iterable[tuple[str, Offer]], names: Iterable[str]) -> str:
    """Return what workers (by name) have at most of what is asked for, in words."""
    known = list(offers)
    parts = []
    for name in names:
        most, who = max(
            ((amount_of(offer[name]), worker) for worker, offer in known if name in offer),
            default=(0, ""),
        )
        parts.append(f"at most {name}={most:g} on {who}" if who else f"no {name}")
    return ", ".join(parts)


class Pool:
    """What a worker has to give at one moment: dealt out to tasks, and taken back."""

    def __init__(self, offer: Offer) -> None:
        self._free = {name: parts_of(amount_of(offered)) for name, offered in offer.items()}
        self._units = {
            name: units for name, offered in offer.items() if (units := units_of(offered))
        }
        self._all = dict(self._units)
        self._last: dict[int, set[tuple[str, Unit]]] = {}

    def take(self, ask: Ask, user: int) -> Grant | None:
        """Deal out what is asked for, None if it is not all free. Things that this user (an
        executor) had before are preferred: libraries stay with the device they began with.
        """
        for name, amount in ask.items():
            if self._free.get(name, 0) < parts_of(amount):
                return None
            if name in self._units and not isinstance(amount, int):
                return None
        before = self._last.get(user, set())
        others = set().union(*(had for who, had in self._last.items() if who != user))
        grant: Grant = {}
        for name, amount in ask.items():
            self._free[name] -= parts_of(amount)
            units = self._units.get(name)
            if units is None:
                grant[name] = amount
                continue
            order = sorted(units, key=lambda u: ((name, u) not in before, (name, u) in others))
            chosen = set(order[: int(amount)])
            grant[name] = [unit for unit in units if unit in chosen]
            self._units[name] = [unit for unit in units if unit not in chosen]
        had = {(n, u) for n, given in grant.items() if isinstance(given, list) for u in given}
        if had:
            self._last[user] = had
        return grant

    def give_back(self, grant: Grant) -> None:
        """What was dealt out is free again."""
        for name, given in grant.items():
            self._free[name] += parts_of(amount_of(given))
            if isinstance(given, list):
                free = {*self._units[name], *given}
                self._units[name] = [unit for unit in self._all[name] if unit in free]

    def forget(self, user: int) -> None:
        """An executor is gone."""
        self._last.pop(user, None)
