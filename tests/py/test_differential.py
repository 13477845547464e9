"""The decoders against each other, one round of a fixed seed; any number of others by make check-differential."""

from __future__ import annotations

import copy
import random
import sys
from collections.abc import Callable, Iterator

import pytest
from cluster import ROOT, Cluster

sys.path.insert(0, str(ROOT / "tests/fuzz"))
sys.path.insert(0, str(ROOT / "tests/differential"))

from comparing import OURS, RAW, REFERENCE, Source, check, compare_all, plant_difference
from plugins import Transaction
from replica import Difference

Streams = dict[str, list[Transaction]]


@pytest.fixture(scope="module")
def source(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Source]:
    """A database with some work behind it."""
    made = Source(cluster, "differential", tmp_path_factory.mktemp("differential"))
    made.make(seed=11, transactions=80)
    yield made
    made.close()


@pytest.fixture(scope="module")
def said(source: Source) -> tuple[Streams, dict[str, bytes]]:
    """What every plugin says of it."""
    return source.read()


def test_all_plugins_say_the_same_of_the_same_wal(source: Source, said: tuple[Streams, dict[str, bytes]]) -> None:
    streams, sql = said
    assert {REFERENCE, RAW, *OURS} <= set(streams)
    check(source, streams, sql)
    assert source.count["changes"] > 300
    assert all(source.count[kind] > 0 for kind in ("insert", "update", "delete", "unchanged"))


def lose_change(stream: list[Transaction], rng: random.Random) -> None:
    rng.choice([t for t in stream if len(t.changes) > 1]).changes.pop()


def lose_transaction(stream: list[Transaction], rng: random.Random) -> None:
    stream.pop(rng.randrange(len(stream)))


def repeat_transaction(stream: list[Transaction], rng: random.Random) -> None:
    stream.append(stream[-1])


def tell_unchanged(stream: list[Transaction], rng: random.Random) -> None:
    change = next(c for t in stream for c in t.changes if c.unchanged and c.kind == "update" and c.old)
    change.unchanged.clear()


PLANTED: list[Callable[[list[Transaction], random.Random], None]] = [
    plant_difference,
    lose_change,
    lose_transaction,
    repeat_transaction,
]


@pytest.mark.parametrize("plant", PLANTED)
@pytest.mark.parametrize("plugin", [REFERENCE, RAW, *OURS])
def test_a_difference_in_what_one_plugin_says_is_noticed(
    source: Source, said: tuple[Streams, dict[str, bytes]], plugin: str, plant: Callable[..., None]
) -> None:
    streams = said[0] | {plugin: copy.deepcopy(said[0][plugin])}
    plant(streams[plugin], random.Random(1))
    with pytest.raises(Difference):
        compare_all(streams, source)


def test_a_plugin_that_tells_an_unchanged_value_is_noticed(
    source: Source, said: tuple[Streams, dict[str, bytes]]
) -> None:
    streams = said[0] | {RAW: copy.deepcopy(said[0][RAW])}
    tell_unchanged(streams[RAW], random.Random(1))
    with pytest.raises(Difference, match="did not change"):
        compare_all(streams, source)


def test_rows_that_psql_did_not_make_are_noticed(source: Source, said: tuple[Streams, dict[str, bytes]]) -> None:
    streams, sql = said
    for name in source.copies.values():  # check() has been here
        source.cluster.dropdb(name)
    source.copies = {OURS[0]: "differential_other"}
    source.cluster.createdb("differential_other")
    with pytest.raises(Difference, match="psql"):
        check(source, streams, sql)
