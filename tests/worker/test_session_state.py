"""The packed session state: what was packed comes back, earlier formats are read, damage is named."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import StateError
from worker.session_state import ModelState, SessionState, newer_of, pack, unpack

numbers = st.integers(-(2**63), 2**63 - 1)
items = st.lists(st.one_of(numbers, st.text(max_size=20)), max_size=60)
sides = st.builds(ModelState, st.one_of(st.none(), st.text()), st.binary(max_size=900), items, st.text(max_size=9))
states = st.builds(SessionState, numbers, numbers, numbers, numbers, items, sides, st.one_of(st.none(), sides))


@given(states)
def test_what_was_packed_comes_back(state: SessionState) -> None:
    assert unpack(pack(state)) == state


def test_the_previous_format_is_read() -> None:
    packed = b"\x01" + msgspec.msgpack.encode([3, 17, 1000, 2000, "v1", [1, "b"], b"\0\0\0\0", [5, 6], "model"])
    assert unpack(packed) == SessionState(3, 17, 1000, 2000, [1, "b"], ModelState("v1", b"\0\0\0\0", [5, 6], "model"))


@pytest.mark.parametrize("damaged", [b"", b"\x63rest", b"\x02", b"\x02\x93\x01\x02", b"\x01\xc0"])
def test_a_damaged_state_is_named(damaged: bytes) -> None:
    with pytest.raises(StateError, match="session state"):
        unpack(damaged)


def test_of_two_states_the_one_that_saw_more_clicks_stays() -> None:
    def at(offset: int) -> bytes:
        return pack(SessionState(0, offset, 0, 0, [], ModelState(None, b"", [], "")))

    assert newer_of(at(5), at(4)) == at(5)
    assert newer_of(at(4), at(5)) == at(5)
    assert newer_of(at(4), b"\x63of a later version") == at(4)
    assert newer_of(b"\x63of a later version", at(4)) == at(4)
