"""Executes the transcript of a commit again, with nothing but what the transcript says."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from contextlib import suppress

from piecrust import VM, CallFailed, CommitId, ContractId
from piecrust.objects import transcript
from piecrust.objects.commit import Commit
from piecrust.objects.kinds import Kind
from piecrust.objects.steps import Call, Deploy, Migrate, QueryAnswer, QueryFailure, RemoveMeta, SetMeta, Step
from piecrust.objects.transcript import Transcript
from piecrust.vm.frames import CALL_HOOK, ROOT_CALLER
from piecrust.vm.session import Session


class Answers:
    """What the host answered in one call, told again."""

    def __init__(self) -> None:
        self.left: deque[QueryAnswer] = deque()
        self.nested = 0
        self.caller: ContractId | None = None

    def begin(self, answers: Iterable[QueryAnswer]) -> None:
        self.left = deque(answers)
        self.nested = 0
        self.caller = None
        if self.left and self.left[0].name == ROOT_CALLER:
            given = self.left.popleft().answer
            assert isinstance(given, bytes)
            self.caller = ContractId(given)

    def hook(self, callee: ContractId, function: str, argument: bytes, stack: tuple[ContractId, ...]) -> str | None:
        self.nested += stack != (self.caller,)
        if self.left and self.left[0].name == CALL_HOOK and self.left[0].price == self.nested:
            given = self.left.popleft().answer
            assert isinstance(given, QueryFailure)
            return given.detail
        return None


class Told:
    """A host query that tells what it answered before."""

    def __init__(self, name: str, answers: Answers) -> None:
        self.name = name
        self.answers = answers

    def price(self, argument: bytes) -> int:
        given = self.answers.left[0]
        assert given.name == self.name
        if isinstance(given.answer, QueryFailure) and given.answer.kind == "OutOfGas":
            self.answers.left.popleft()
        return given.price

    def execute(self, argument: bytes) -> bytes:
        given = self.answers.left.popleft().answer
        if isinstance(given, QueryFailure):
            raise RuntimeError(given.detail)  # noqa: TRY004  (it failed before, too)
        return given


def repeated(vm: VM, commit: CommitId) -> CommitId:
    """The commit that comes of doing it again in `vm`, which has the same store but other host queries."""
    made: Commit = vm.store.load(Kind.COMMIT, commit)
    assert made.transcript is not None
    told = transcript.load(vm.store, made.transcript)
    assert isinstance(told, Transcript)
    answers = Answers()
    for name in _names(told.steps):
        vm.register_host_query(name, Told(name, answers))
    with vm.session(
        made.parents[0] if made.parents else None,
        meta=told.metadata,
        exclude_host_queries=told.excluded_queries,
        contain_host_query_failures=told.contain_host_query_failures,
    ) as session:
        session.set_call_hook(answers.hook)
        for step in told.steps:
            _repeat(vm, session, step, answers)
        return session.commit(made.message, author=made.author, time=made.time, allow_empty=True)


def _names(steps: Iterable[Step]) -> set[str]:
    names: set[str] = set()
    for step in steps:
        if isinstance(step, Migrate):
            names |= _names((step.deploy, *step.steps))
        elif isinstance(step, Call | Deploy):
            names |= {answer.name for answer in step.answers if not answer.name.startswith("\0")}
    return names


def _repeat(vm: VM, session: Session, step: Step, answers: Answers) -> None:
    match step:
        case SetMeta(name, value):
            session.set_meta(name, value)
        case RemoveMeta(name):
            session.remove_meta(name)
        case Migrate(old, deploy, steps):
            answers.begin(deploy.answers)
            bytecode = vm.store.load(Kind.BYTECODE, deploy.bytecode)

            def closure(new: ContractId, session: Session) -> None:
                for inner in steps:
                    _repeat(vm, session, inner, answers)

            session.migrate(
                old,
                bytecode,
                closure,
                owner=deploy.owner,
                contract_id=deploy.contract,
                init=deploy.init,
                gas_limit=deploy.gas_limit,
            )
        case _:
            answers.begin(step.answers)
            with suppress(CallFailed, RuntimeError):  # the commit's id tells whether it failed as it did before
                _run(vm, session, step, answers)


def _run(vm: VM, session: Session, step: Call | Deploy, answers: Answers) -> None:
    if isinstance(step, Deploy):
        bytecode = vm.store.load(Kind.BYTECODE, step.bytecode)
        session.deploy(bytecode, step.owner, contract_id=step.contract, init=step.init, gas_limit=step.gas_limit)
    elif step.feed is not None:
        session.feeder_call(step.contract, step.function, step.argument, feed=[], gas_limit=step.gas_limit)
    else:
        session.call_raw(step.contract, step.function, step.argument, gas_limit=step.gas_limit, caller=answers.caller)
