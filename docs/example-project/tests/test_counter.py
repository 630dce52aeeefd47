from pathlib import Path

import pytest
from piecrust import InvalidFunction
from piecrust.rkyv import i64

COUNTER = Path(__file__).parent.parent / "contracts" / "counter.wat"


def test_counts(deploy):
    counter = deploy(COUNTER)
    counter.increment()
    counter.increment()
    assert counter.value(returns=i64).data == 2


def test_nothing_is_left_by_another_test(session, deploy):
    counter = deploy(COUNTER)
    assert session.query(counter.id, "value", returns=i64).data == 0


def test_commits_can_be_opened_again(vm):
    with vm.session() as session:
        counter, _ = session.deploy(COUNTER, b"me")
        session.call(counter, "increment")
        first = session.commit()
    with vm.session(first) as session:
        assert session.query(counter, "value", returns=i64).data == 1


def test_an_unknown_function_is_an_error(deploy):
    with pytest.raises(InvalidFunction):
        deploy(COUNTER).decrement()
