"""Structs of Rust's standard library that rkyv archives: `Range` and its kin, and `Duration`."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import lru_cache
from typing import Generic, TypeVar

from piecrust.vm.rkyv.types import U32, U64, Field, RustType, StructType

T = TypeVar("T")

_NANOSECONDS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Range(Generic[T]):
    """Rust's `start..end`."""

    start: T
    end: T


@dataclass(frozen=True, slots=True)
class RangeInclusive(Generic[T]):
    """Rust's `start..=end`."""

    start: T
    end: T


@dataclass(frozen=True, slots=True)
class RangeFrom(Generic[T]):
    """Rust's `start..`."""

    start: T


@dataclass(frozen=True, slots=True)
class RangeTo(Generic[T]):
    """Rust's `..end`."""

    end: T


@dataclass(frozen=True, slots=True)
class RangeToInclusive(Generic[T]):
    """Rust's `..=end`."""

    end: T


@dataclass(frozen=True, slots=True)
class RangeFull:
    """Rust's `..`."""


@dataclass(frozen=True, slots=True)
class Duration:
    """A span of time; whole seconds in the nanoseconds are carried over, as Rust does."""

    seconds: int
    nanoseconds: int = 0

    def __post_init__(self) -> None:
        carried, nanoseconds = divmod(self.nanoseconds, _NANOSECONDS)
        if self.seconds + carried > U64.maximum:
            raise ValueError("more seconds than a u64 has")
        object.__setattr__(self, "seconds", self.seconds + carried)
        object.__setattr__(self, "nanoseconds", nanoseconds)


RANGES: dict[str, type] = {cls.__name__: cls for cls in (Range, RangeInclusive, RangeFrom, RangeTo, RangeToInclusive)}

RANGE_FULL = StructType("RangeFull", RangeFull, tuple, "Rust", standard=True)

DURATION = StructType(
    "Duration",
    Duration,
    lambda: (Field("secs", U64, "seconds"), Field("nanos", U32, "nanoseconds")),
    "Rust",
    standard=True,
)


@lru_cache(maxsize=1024)
def range_type(cls: type, item: RustType) -> StructType:
    """The type of a range of items: one of the classes in `RANGES`."""
    names = [field.name for field in dataclasses.fields(cls)]
    fields = tuple(Field(name, item, name) for name in names)
    return StructType(f"{cls.__name__}<{item}>", cls, lambda: fields, "Rust", standard=True)
