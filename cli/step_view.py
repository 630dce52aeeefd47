"""What led to a commit, shown: for people and for envelopes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from piecrust.cli.envelope import u64
from piecrust.cli.receipts import Label, event_data
from piecrust.cli.render import printable
from piecrust.objects.steps import Call, Deploy, Failure, Migrate, Outcome, RemoveMeta, SetMeta, Step, Success
from piecrust.objects.transcript import Derivation, Import, Merge, Restore, Side, Transcript

if TYPE_CHECKING:
    from piecrust.cli.interfaces import Interfaces
    from piecrust.cli.style import Style


def derivation_data(derivation: Derivation | None, interfaces: Interfaces) -> dict[str, Any]:
    """What led to a commit, for the envelope."""
    match derivation:
        case None:
            return {"kind": "unknown"}
        case Transcript():
            return {
                "kind": "session",
                "metadata": dict(derivation.metadata),
                "steps": [step_data(step, interfaces) for step in derivation.steps],
            }
        case Merge():
            choices = {contract.hex(): Side(side).name.lower() for contract, side in derivation.choices.items()}
            return {
                "kind": "merge",
                "base": derivation.base,
                "ours": derivation.ours,
                "theirs": derivation.theirs,
                "choices": choices,
            }
        case Restore():
            return {"kind": "restore", "source": derivation.source, "contracts": sorted(derivation.contracts)}
        case Import():
            return {
                "kind": "import",
                "format": derivation.format,
                "source": derivation.source,
                "contracts": sorted(derivation.contracts),
            }


def step_data(step: Step, interfaces: Interfaces) -> dict[str, Any]:
    """One step, for the envelope."""
    match step:
        case Deploy():
            return {
                "kind": "deploy",
                "contract": step.contract,
                "bytecode": step.bytecode,
                "owner": step.owner,
                "init": step.init,
                "gas_limit": u64(step.gas_limit),
                "outcome": outcome_data(step.outcome, interfaces),
            }
        case Call():
            return {
                "kind": "call",
                "contract": step.contract,
                "function": step.function,
                "argument": step.argument,
                "gas_limit": u64(step.gas_limit),
                "outcome": outcome_data(step.outcome, interfaces),
            }
        case SetMeta():
            return {"kind": "set_meta", "name": step.name, "value": step.value}
        case RemoveMeta():
            return {"kind": "remove_meta", "name": step.name}
        case Migrate():
            return {
                "kind": "migrate",
                "contract": step.contract,
                "deploy": step_data(step.deploy, interfaces),
                "steps": [step_data(inner, interfaces) for inner in step.steps],
            }


def outcome_data(outcome: Outcome | None, interfaces: Interfaces) -> dict[str, Any] | None:
    """How a step ended, for the envelope."""
    match outcome:
        case None:
            return None
        case Success():
            return {
                "gas_spent": u64(outcome.gas_spent),
                "data": outcome.data,
                "events": [event_data(event, interfaces) for event in outcome.events],
            }
        case Failure():
            return {
                "kind": outcome.kind,
                "detail": outcome.detail,
                "events": [event_data(event, interfaces) for event in outcome.events],
            }


def derivation_lines(derivation: Derivation | None, label: Label, style: Style) -> list[str]:
    """What led to a commit, for people."""
    match derivation:
        case None:
            return ["how it came about is not recorded"]
        case Transcript():
            metadata = [f"meta {name} = {value.hex()}" for name, value in sorted(derivation.metadata.items())]
            return [*metadata, *(line for step in derivation.steps for line in step_lines(step, label, style))]
        case Merge():
            lines = [f"merge of {style.commit(derivation.theirs.short())} into {style.commit(derivation.ours.short())}"]
            for contract, side in derivation.choices.items():
                lines.append(f"  {style.contract(label(contract))}: {Side(side).name.lower()}")
            return lines
        case Restore():
            what = ", ".join(style.contract(label(c)) for c in sorted(derivation.contracts)) or "the whole state"
            return [f"restore of {what} from {style.commit(derivation.source.short())}"]
        case Import():
            return [f"import from {derivation.format} {derivation.source.hex()}"]


def step_lines(step: Step, label: Label, style: Style) -> list[str]:
    """One step, for people; a migration has the steps in it indented."""
    match step:
        case Deploy():
            init = f" init {_bytes(step.init)}" if step.init else ""
            return [f"deploy {style.contract(label(step.contract))}{init}{_ended(step.outcome, style)}"]
        case Call():
            argument = f" {_bytes(step.argument)}" if step.argument else ""
            name = f"{style.contract(label(step.contract))} {step.function}"
            return [f"call {name}{argument}{_ended(step.outcome, style)}"]
        case SetMeta():
            return [f"meta {step.name} = {step.value.hex()}"]
        case RemoveMeta():
            return [f"meta {step.name} removed"]
        case Migrate():
            inner = [step.deploy, *step.steps]
            return [
                f"migrate {style.contract(label(step.contract))}",
                *(f"  {line}" for part in inner for line in step_lines(part, label, style)),
            ]


def _ended(outcome: Outcome | None, style: Style) -> str:
    match outcome:
        case None:
            return ""
        case Success():
            data = f" -> {_bytes(outcome.data)}" if outcome.data else ""
            return data + style.faint(f"  gas {outcome.gas_spent:,}")
        case Failure():
            detail = f": {outcome.detail}" if outcome.detail else ""
            return f"  {style.removed(f'failed, {outcome.kind}{detail}')}"


def _bytes(data: bytes) -> str:
    """Bytes in hex, long ones shortened; text where it is readable."""
    if len(data) >= 4 and "." not in printable(data):
        return repr(printable(data[:40])) + ("..." if len(data) > 40 else "")
    return data[:24].hex() + ("..." if len(data) > 24 else "")
