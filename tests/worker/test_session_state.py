"""The packed session state: round trips, older formats, and errors for damaged and newer ones."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import NewerStateError, StateError
from worker.session_state import ModelState, SessionState, newer_of, pack, stored_at, unpack

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
    assert (again.log, again.more, again.served.dtype, again.served.network) == ("", {}, "", "")


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


def test_a_state_of_a_newer_version_is_neither_read_nor_passed_over() -> None:
    newer, ours = b"\x04whatever", pack(SessionState(0, 9, 0, 0, [], ModelState(None, b"", [], "")))
    for read in (unpack, stored_at, lambda packed: newer_of(packed, ours), lambda packed: newer_of(ours, packed)):
        with pytest.raises(NewerStateError, match="format 4 was written by a newer nextclick"):
            read(newer)
