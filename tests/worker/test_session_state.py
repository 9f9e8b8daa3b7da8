"""The packed session state: round trips, older formats, and errors for damaged and newer ones."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import NewerStateError, StateError
from worker.session_state import ModelState, SessionState, counts_in, newer_of, pack, stored_at, unpack

numbers = st.integers(-(2**63), 2**63 - 1)
items = st.lists(st.one_of(numbers, st.text(max_size=20)), max_size=60)
versions, memories, sources = st.one_of(st.none(), st.text()), st.binary(max_size=900), st.text(max_size=9)
sides = st.builds(ModelState, versions, memories, items, sources)
dated = st.builds(ModelState, versions, memories, items, sources, st.sampled_from(["float32", "float16"]), st.text())
numbered = (numbers, numbers, numbers, numbers, items)
more = st.dictionaries(st.text(max_size=5), st.one_of(numbers, items, st.binary(max_size=9)), max_size=3)
states_2 = st.builds(SessionState, *numbered, sides, st.one_of(st.none(), sides))
states_3 = st.builds(SessionState, *numbered, dated, st.one_of(st.none(), dated), st.text(), more)


@given(states_2)
def test_what_was_packed_in_format_2_comes_back(state: SessionState) -> None:
    assert unpack(pack(state)) == state


@given(states_3)
def test_what_was_packed_in_format_3_comes_back(state: SessionState) -> None:
    assert unpack(pack(state, 3)) == state


@given(states_3)
def test_format_2_leaves_out_what_it_has_no_place_for(state: SessionState) -> None:
    again = unpack(pack(state, 2))
    assert (again.offset, again.history, again.served.memory) == (state.offset, state.history, state.served.memory)
    assert (again.log, again.more, again.served.dtype, again.served.network_digest) == (state.log, {}, "", "")


def test_what_0_1_reads_of_format_2_does_not_depend_on_the_log() -> None:
    class Model(msgspec.Struct, array_like=True):
        version: str | None
        memory: bytes
        top: list[int]
        source: str

    class State(msgspec.Struct, array_like=True):  # as 0.1 declared it
        partition: int
        offset: int
        clicked_at: int
        stored_at: int
        history: list[int]
        served: Model
        shadow: Model | None = None

    state = SessionState(0, 1, 2, 3, [4], ModelState("v", b"m", [5], "model"))
    before = pack(state)
    state.log = "AAAAAAAAAAAAAAAAAAAAAA"
    assert pack(state)[:1] == before[:1] == b"\x02"
    read = msgspec.msgpack.Decoder(State).decode
    assert read(pack(state)[1:]) == read(before[1:])


def test_format_1_is_read() -> None:
    packed = b"\x01" + msgspec.msgpack.encode([3, 17, 1000, 2000, "v1", [1, "b"], b"\0\0\0\0", [5, 6], "model"])
    assert unpack(packed) == SessionState(3, 17, 1000, 2000, [1, "b"], ModelState("v1", b"\0\0\0\0", [5, 6], "model"))


def test_a_later_version_may_add_fields_behind_those_of_format_3() -> None:
    state = SessionState(0, 1, 2, 3, [4], ModelState("v", b"", [], ""), None, "log", {"seen": [1]})
    fields = msgspec.msgpack.decode(pack(state, 3)[1:])
    assert unpack(b"\x03" + msgspec.msgpack.encode([*fields, "added later"])) == state


@pytest.mark.parametrize(
    "damaged", [b"", b"\x00rest", b'{"a":1}', b"\xffrest", b"\x02", b"\x02\x93\x01\x02", b"\x01\xc0", b"\x03\xc0"]
)
def test_a_damaged_state_is_named(damaged: bytes) -> None:
    with pytest.raises(StateError, match="session state"):
        unpack(damaged)
    assert stored_at(damaged) == 0


def test_of_two_states_the_one_that_saw_more_clicks_stays() -> None:
    def at(offset: int, state_format: int = 2) -> bytes:
        return pack(SessionState(0, offset, 0, 0, [], ModelState(None, b"", [], "")), state_format)

    assert newer_of(at(5), at(4)) == at(5)
    assert newer_of(at(4), at(5)) == at(5)
    assert newer_of(at(4, 3), at(5)) == at(5)
    assert newer_of(at(4), b"\x02damaged") == at(4)
    assert newer_of(b"\x02damaged", at(4)) == at(4)


def test_of_two_states_that_count_in_different_logs_the_later_one_stays() -> None:
    def at(offset: int, log: str) -> bytes:
        return pack(SessionState(0, offset, 0, 0, [], ModelState(None, b"", [], ""), None, log))

    assert newer_of(at(59, "old"), at(3, "new")) == at(3, "new")
    assert newer_of(at(59, ""), at(3, "new")) == at(3, "new")  # 0.2 wrote the first one
    assert newer_of(at(59, "new"), at(3, "new")) == at(59, "new")
    assert newer_of(at(59, "new"), at(3, "")) == at(59, "new")  # a worker of 0.2 in the group, which woke up late


@pytest.mark.parametrize(
    ("of_state", "of_topic", "offset", "end", "counts"),
    [
        ("log", "log", 9, 10, True),
        ("log", "other", 9, 10, False),
        ("log", "log.1", 9, 10, False),
        ("", "log", 9, 10, True),  # not known: as long as the log has that offset
        ("", "log", 10, 10, False),
        ("log", "", 9, 10, True),
        ("log", "log", 10, 10, False),  # the log lost its end
    ],
)
def test_an_offset_counts_in_its_own_log_only(
    of_state: str, of_topic: str, offset: int, end: int, counts: bool
) -> None:
    state = SessionState(0, offset, 0, 0, [], ModelState(None, b"", [], ""), None, of_state)
    assert counts_in(state, of_topic, end) is counts


def test_a_state_of_a_newer_version_is_neither_read_nor_passed_over() -> None:
    newer, ours = b"\x04whatever", pack(SessionState(0, 9, 0, 0, [], ModelState(None, b"", [], "")))
    for read in (unpack, stored_at, lambda packed: newer_of(packed, ours), lambda packed: newer_of(ours, packed)):
        with pytest.raises(NewerStateError, match="format 4 was written by a newer nextclick"):
            read(newer)
