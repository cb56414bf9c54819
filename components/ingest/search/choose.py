"""Which of the pictures found are taken: none twice, nothing too small, and none that both sides' queries found."""

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np

from components.core.recipe import Search
from components.ingest.near import near_groups
from components.ingest.search.hits import Hit
from components.ingest.search.queries import Query


@dataclass(frozen=True)
class Found:
    """A hit of a query and the facts of its picture (sha256, bytes, width, height, codec, contrast, hash)."""

    query: Query
    hit: Hit
    facts: dict


@dataclass
class Chosen:
    """What is taken, in the order in which it was found, and what is refused: address -> reason.

    Counts of addresses: `copies` (the same bytes as another of its class), `near` (a near-duplicate of another of its
    class), `ambiguous` (found for several classes, all copies and near-duplicates among them).
    """

    taken: list[Found] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    copies: int = 0
    near: int = 0
    ambiguous: int = 0

    def words(self, labels: list[str], more: int) -> str:
        """The counts in words, by class in the order of `labels`; `more` were refused before."""
        counts = dict.fromkeys(labels, 0)
        for one in self.taken:
            counts[one.query.label] += 1
        by_class = ", ".join(f"{count} {label}" for label, count in counts.items())
        unfit = more + len(self.refused) - self.copies - self.near - self.ambiguous
        return (
            f"{len(self.taken)} taken ({by_class}), {self.copies} copies, {self.near} near-duplicates, "
            f"{self.ambiguous} ambiguous (found for several classes), {unfit} refused"
        )


def choose(found: list[Found], search: Search) -> Chosen:
    """The first of every group of pictures that are the same or nearly so; none of a group with several classes.

    Near-duplicates hang together in chains (`near.near_groups`).
    """
    chosen, usable = Chosen(), []
    for one in found:
        if reason := _unfit(one.facts, search):
            chosen.refused[one.hit.url] = reason
        else:
            usable.append(one)
    groups = _groups([one.facts for one in usable], search.near)
    members: dict[int, list[Found]] = defaultdict(list)
    for one, group in zip(usable, groups, strict=True):
        members[group].append(one)
    for group in members.values():
        _settle(group, chosen)
    return chosen


def _settle(group: list[Found], chosen: Chosen) -> None:
    first, addresses = group[0], {one.hit.url: one for one in group[::-1]}
    if len(labels := {one.query.label for one in group}) > 1:
        said = {label: next(one.query.text for one in group if one.query.label == label) for label in sorted(labels)}
        words = " and ".join(f"{text!r} ({label})" for label, text in said.items())
        chosen.refused |= dict.fromkeys(addresses, f"ambiguous: found, or nearly the same picture, by {words}")
        chosen.ambiguous += len(addresses)
        return
    chosen.taken.append(first)
    del addresses[first.hit.url]
    for url, one in sorted(addresses.items()):
        same = one.facts["sha256"] == first.facts["sha256"]
        chosen.refused[url] = f"the same bytes as {first.hit.url}" if same else f"nearly the same as {first.hit.url}"
        chosen.copies += same
        chosen.near += not same


def _unfit(facts: dict, search: Search) -> str | None:
    if min(facts["width"], facts["height"]) < search.min_side:
        size = f"{facts['width']}x{facts['height']}"
        return f"{size}: a side of fewer than {search.min_side} pixels (ingest.search.min_side)"
    if facts["bytes"] > search.max_mb * 1e6:
        return f"{facts['bytes'] / 1e6:.1f} MB are more than {search.max_mb:g} MB (ingest.search.max_mb)"
    return None


def _groups(facts: list[dict], near: int) -> list[int]:
    """Per picture the number of its group: that of the first picture which it is the same as, or nearly."""
    first: dict[str, int] = {}
    same = [first.setdefault(one["sha256"], number) for number, one in enumerate(facts)]
    if near < 0:
        return same
    distinct = list(first.values())
    hashes = np.array([facts[number]["perceptual_hash"] for number in distinct], dtype=np.int64)
    contrast = np.array([facts[number]["contrast"] for number in distinct])
    groups = near_groups(hashes, contrast, near).tolist()
    leader = {own: own if group < 0 else distinct[group] for own, group in zip(distinct, groups, strict=True)}
    return [leader[number] for number in same]
