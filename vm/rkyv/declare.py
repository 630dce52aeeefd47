"""Python classes as Rust structs and enums: `@archive` for structs, `TaggedUnion` for enums with data.

An enum without data is any `enum.Enum`; it needs no declaration.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any, TypeVar, dataclass_transform, overload

from piecrust.vm.rkyv.types import Repr, RustType

T = TypeVar("T")


class Declaration:
    """What a declared class carries as `__rkyv__`.

    `types` are the Rust types made of it, by type arguments; `variants` the classes of an enum, None for a struct.
    """

    def __init__(self, cls: type, representation: Repr, variants: list[type] | None = None) -> None:
        self.cls = cls
        self.doc = inspect.cleandoc(cls.__dict__.get("__doc__") or "")
        self.representation = representation
        self.variants = variants
        self.types: dict[tuple[RustType, ...], RustType] = {}


def declaration(cls: type) -> Declaration | None:
    """The declaration of a class itself, not of one it inherits from."""
    found = cls.__dict__.get("__rkyv__")
    return found if isinstance(found, Declaration) else None


@overload
def archive(cls: type[T], /) -> type[T]: ...


@overload
def archive(*, repr: Repr = "Rust") -> Callable[[type[T]], type[T]]: ...


@dataclass_transform(frozen_default=True)
def archive(cls: type[T] | None = None, /, *, repr: Repr = "Rust") -> Any:  # noqa: A002 - Rust's word
    """Declares a class as a Rust struct that derives rkyv's `Archive`.

    The class becomes a frozen dataclass, unless it is a dataclass already. Its annotations are the types of the fields,
    in the order of the Rust source; a field that Rust calls by a Python keyword, `from`, is named `from_`. A struct
    whose archived form is `repr(C)` is declared with `repr="C"`.

    >>> from piecrust.vm.rkyv.values import u8, u64
    >>> @archive
    ... class Account:
    ...     nonce: u64
    ...     kind: u8
    >>> Account(5, 1)
    Account(nonce=5, kind=1)
    """

    def declare(target: type[T]) -> type[T]:
        declared = Declaration(target, repr)  # before the dataclass gets a docstring that nobody wrote
        if "__dataclass_params__" not in target.__dict__:
            target = dataclasses.dataclass(frozen=True)(target)
        declared.cls = target
        type.__setattr__(target, "__rkyv__", declared)
        return target

    return declare if cls is None else declare(cls)


@dataclass_transform(frozen_default=True)
class TaggedUnion:
    """Base of Rust enums with data: a subclass is the enum, its subclasses are the variants, in their order.

    Variants become frozen dataclasses. Whether Rust calls a variant a tuple or a struct makes no difference.

    >>> from piecrust.vm.rkyv.values import u32, u64
    >>> class Shape(TaggedUnion): ...
    >>> class Empty(Shape): ...
    >>> class Circle(Shape):
    ...     radius: u32
    >>> Circle(7), Empty()
    (Circle(radius=7), Empty())
    """

    def __init_subclass__(cls, **arguments: Any) -> None:
        """Declares an enum or a variant. Raises `TypeError` for variants of variants, or of an enum in use."""
        super().__init_subclass__(**arguments)
        if TaggedUnion in cls.__bases__:
            cls.__rkyv__ = Declaration(cls, "Rust", [])  # type: ignore[attr-defined]  # found by declaration()
            return
        union = declaration(cls.__bases__[0])
        if union is None or union.variants is None or len(cls.__bases__) != 1:
            raise TypeError(f"{cls.__name__}: a variant has one base, the enum")
        if union.types:
            raise TypeError(f"{cls.__name__}: {union.cls.__name__} is in use, its variants can not change")
        dataclasses.dataclass(frozen=True)(cls)
        union.variants.append(cls)
