"""The stored form of steps; `piecrust.objects.transcript` draws it."""

from __future__ import annotations

from typing import Final

from piecrust.objects.access import ObjectReader, ObjectWriter
from piecrust.objects.encoding import U64_MAX, Fields
from piecrust.objects.errors import InvalidFormat
from piecrust.objects.ids import BytecodeHash, ContractId
from piecrust.objects.pieces import get_bytes, get_list, put_bytes, put_list
from piecrust.objects.steps import (
    Call,
    Deploy,
    Event,
    Failure,
    Feed,
    Migrate,
    Outcome,
    QueryAnswer,
    QueryFailure,
    RemoveMeta,
    SetMeta,
    Step,
    Success,
)

KIND_BYTES_MAX: Final = 64
MIGRATION_DEPTH_MAX: Final = 8

_WHAT = "transcript step"


def encode_step(writer: ObjectWriter, step: Step, depth: int = 0) -> tuple[object, ...]:
    """The array for a step; stages the blobs that its strings and lists are cut into.

    Raises:
        InvalidFormat: migrations within migrations, deeper than `MIGRATION_DEPTH_MAX`.
    """
    match step:
        case Deploy():
            return _encode_deploy(writer, step)
        case Call():
            return (
                1,
                bytes(step.contract),
                put_bytes(writer, step.function.encode()),
                put_bytes(writer, step.argument),
                _u64(step.gas_limit),
                _encode_outcome(writer, step.outcome),
                _encode_answers(writer, step.answers),
                None if step.feed is None else (step.feed.count, step.feed.digest),
            )
        case SetMeta(name, value):
            return 2, put_bytes(writer, name.encode()), put_bytes(writer, value)
        case RemoveMeta(name):
            return 3, put_bytes(writer, name.encode())
        case Migrate(contract, deploy, steps):
            _bound(depth)
            nested = [encode_step(writer, nested, depth + 1) for nested in steps]
            return 4, bytes(contract), _encode_deploy(writer, deploy), put_list(writer, nested)


def decode_step(reader: ObjectReader, item: tuple[object, ...], depth: int = 0) -> Step:
    """The step of an array.

    Raises:
        InvalidFormat: it is none.
    """
    fields = Fields(_WHAT, item)
    step: Step
    match fields.uint(4):
        case 0:
            return _decode_deploy(reader, item)
        case 1:
            step = _decode_call(reader, fields)
        case 2:
            step = SetMeta(_text(reader, fields), _data(reader, fields))
        case 3:
            step = RemoveMeta(_text(reader, fields))
        case _:
            _bound(depth)
            contract, deploy = ContractId(fields.hash()), _decode_deploy(reader, fields.array(8))
            nested = get_list(reader, _WHAT, fields.take())
            step = Migrate(
                contract, deploy, tuple(decode_step(reader, nested_item, depth + 1) for nested_item in nested)
            )
    fields.end()
    return step


def _encode_deploy(writer: ObjectWriter, step: Deploy) -> tuple[object, ...]:
    return (
        0,
        bytes(step.contract),
        bytes(step.bytecode),
        put_bytes(writer, step.owner),
        None if step.init is None else put_bytes(writer, step.init),
        _u64(step.gas_limit),
        None if step.outcome is None else _encode_outcome(writer, step.outcome),
        _encode_answers(writer, step.answers),
    )


def _decode_deploy(reader: ObjectReader, item: tuple[object, ...]) -> Deploy:
    fields = Fields(_WHAT, item)
    if fields.uint() != 0:
        raise InvalidFormat(_WHAT, "no deployment")
    contract, bytecode, owner = fields.hash(), fields.hash(), _data(reader, fields)
    init, gas_limit, outcome = fields.take(), fields.uint(), fields.take()
    step = Deploy(
        ContractId(contract),
        BytecodeHash(bytecode),
        owner,
        None if init is None else get_bytes(reader, _WHAT, init),
        gas_limit,
        None if outcome is None else _decode_outcome(reader, outcome),
        _decode_answers(reader, fields.take()),
    )
    fields.end()
    return step


def _decode_call(reader: ObjectReader, fields: Fields) -> Call:
    contract, function, argument = ContractId(fields.hash()), _text(reader, fields), _data(reader, fields)
    gas_limit, outcome = fields.uint(), _decode_outcome(reader, fields.take())
    answers, feed = _decode_answers(reader, fields.take()), fields.take()
    return Call(contract, function, argument, gas_limit, outcome, answers, None if feed is None else _decode_feed(feed))


def _decode_feed(field: object) -> Feed:
    fields = Fields(_WHAT, field)
    feed = Feed(fields.uint(), fields.hash())
    fields.end()
    return feed


def _encode_outcome(writer: ObjectWriter, outcome: Outcome) -> tuple[object, ...]:
    events = put_list(
        writer,
        [
            (bytes(e.source), put_bytes(writer, e.topic.encode()), put_bytes(writer, e.data), e.reverted)
            for e in outcome.events
        ],
    )
    if isinstance(outcome, Success):
        return 0, _u64(outcome.gas_spent), put_bytes(writer, outcome.data), events
    return 1, outcome.kind, put_bytes(writer, outcome.detail.encode()), events


def _decode_outcome(reader: ObjectReader, field: object) -> Outcome:
    fields = Fields(_WHAT, field)
    outcome: Outcome
    if fields.uint(1) == 0:
        outcome = Success(fields.uint(), _data(reader, fields), _decode_events(reader, fields.take()))
    else:
        kind, detail = fields.text(KIND_BYTES_MAX), _text(reader, fields)
        outcome = Failure(kind, detail, _decode_events(reader, fields.take()))
    fields.end()
    return outcome


def _decode_events(reader: ObjectReader, field: object) -> tuple[Event, ...]:
    events: list[Event] = []
    for item in get_list(reader, _WHAT, field):
        fields = Fields(_WHAT, item)
        events.append(Event(ContractId(fields.hash()), _text(reader, fields), _data(reader, fields), fields.flag()))
        fields.end()
    return tuple(events)


def _encode_answers(writer: ObjectWriter, answers: tuple[QueryAnswer, ...]) -> tuple[object, ...]:
    items: list[object] = []
    for given in answers:
        name = put_bytes(writer, given.name.encode())
        if isinstance(given.answer, QueryFailure):
            failure = (given.answer.kind, put_bytes(writer, given.answer.detail.encode()))
            items.append((name, _u64(given.price), None, failure))
        else:
            items.append((name, _u64(given.price), put_bytes(writer, given.answer), None))
    return put_list(writer, items)


def _decode_answers(reader: ObjectReader, field: object) -> tuple[QueryAnswer, ...]:
    answers: list[QueryAnswer] = []
    for item in get_list(reader, _WHAT, field):
        fields = Fields(_WHAT, item)
        name, price, answer, failure = _text(reader, fields), fields.uint(), fields.take(), fields.take()
        fields.end()
        if (answer is None) == (failure is None):
            raise InvalidFormat(_WHAT, "neither or both of an answer and a failure")
        if failure is None:
            answers.append(QueryAnswer(name, price, get_bytes(reader, _WHAT, answer)))
        else:
            why = Fields(_WHAT, failure)
            answers.append(QueryAnswer(name, price, QueryFailure(why.text(KIND_BYTES_MAX), _text(reader, why))))
            why.end()
    return tuple(answers)


def _data(reader: ObjectReader, fields: Fields) -> bytes:
    return get_bytes(reader, _WHAT, fields.take())


def _text(reader: ObjectReader, fields: Fields) -> str:
    try:
        return _data(reader, fields).decode()
    except UnicodeDecodeError as error:
        raise InvalidFormat(_WHAT, "a text is not UTF-8") from error


def _u64(number: int) -> int:
    if not 0 <= number <= U64_MAX:
        raise InvalidFormat(_WHAT, f"{number} is no integer of 64 bits")
    return number


def _bound(depth: int) -> None:
    if depth >= MIGRATION_DEPTH_MAX:
        raise InvalidFormat(_WHAT, f"migrations nested deeper than {MIGRATION_DEPTH_MAX}")
