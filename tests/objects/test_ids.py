"""Ids are 32 bytes with a type; hexadecimal only at the edges."""

from __future__ import annotations

import pickle

import pytest
from piecrust.objects.errors import InvalidFormat
from piecrust.objects.ids import CommitId, ContractId, Hash, StateRoot


def test_an_id_is_its_bytes():
    raw = bytes(range(32))
    assert CommitId(raw) == raw
    assert {raw: 1}[CommitId(raw)] == 1
    assert str(CommitId(raw)) == raw.hex()
    assert CommitId(raw).short() == "000102030405"
    assert repr(StateRoot(raw)) == f"StateRoot({raw.hex()})"


def test_hexadecimal_there_and_back():
    text = "0f" * 32
    assert CommitId.from_hex(text).hex() == text
    assert type(CommitId.from_hex(text)) is CommitId


@pytest.mark.parametrize("text", ["", "0f" * 31, "0f" * 33, "0g" * 32, " 0f" * 21 + "0", "0f" * 31 + " 0"])
def test_other_text_is_no_id(text):
    with pytest.raises(InvalidFormat, match="commit id"):
        CommitId.from_hex(text)


@pytest.mark.parametrize("length", [0, 31, 33])
def test_other_lengths_are_no_id(length):
    with pytest.raises(InvalidFormat, match="contract id"):
        ContractId(bytes(length))


def test_ids_keep_their_type_when_pickled():
    copy = pickle.loads(pickle.dumps(ContractId(bytes(32))))
    assert type(copy) is ContractId


def test_position_key_is_the_wrapping_sum_of_little_endian_words():
    assert ContractId(b"\x01" + bytes(31)).position_key == 1
    assert ContractId(bytes(28) + b"\x00\x01\x00\x00").position_key == 256
    assert ContractId(b"\xff" * 32).position_key == (8 * 0xFFFFFFFF) & 0xFFFFFFFF


def test_hashes_have_no_dictionary():
    assert not hasattr(Hash(bytes(32)), "__dict__")
