"""The record's Python types against the dtype of compiled code, field by field."""

from typing import get_args, get_origin, get_type_hints

import numpy as np
import pytest

from envs.record import RECORD, Record, Row

HINTS = get_type_hints(Record)
KINDS = {int: "iu", np.uint32: "u", np.uint64: "u", float: "f"}


def test_they_have_the_same_fields_in_the_same_order():
    assert tuple(HINTS) == RECORD.names


@pytest.mark.parametrize("name", HINTS)
def test_a_fields_type_is_what_it_holds(name):
    hint, (dtype, *_) = HINTS[name], RECORD.fields[name]  # type: ignore[index]
    several = get_origin(hint) is Row
    assert several == bool(dtype.shape)
    kind = get_args(hint)[0] if several else hint
    assert dtype.base.kind in KINDS[kind]
    if kind in (np.uint32, np.uint64):
        assert dtype.base == kind
    if dtype.base == np.uint64:
        assert kind is np.uint64  # a set of things or random bits, never a number
