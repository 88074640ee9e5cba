"""Sixteen numbers at once: the values that compiled cells compute with.

A `Lanes` value is one vector of the processor (or a few), a number for each of sixteen neighbouring
environments. Compiled code loads it from memory, computes with + - * / and the functions here, and
stores it; scalars are broadcast. Memory is given by pointers, to rows of lanes or to numbers;
pointer + integer advances one.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, overload, register_model

from .compiling import inlined

WIDTH = 16


class Lanes(types.Type):
    """The compiler's type of sixteen float32 or float64."""

    def __init__(self, number: types.Float) -> None:
        self.number = number
        super().__init__(name=f"Lanes({number})")


@register_model(Lanes)
class _Model(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Lanes) -> None:
        number = manager.lookup(kind.number).get_value_type()
        super().__init__(manager, kind, ir.VectorType(number, WIDTH))


# --- memory -------------------------------------------------------------------------------------


def _pointers(addresses: Any, kind: Any, pointer: Any) -> Any:
    result = types.UniTuple(pointer, len(addresses))

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        machine = context.get_value_type(pointer)
        each = cgutils.unpack_tuple(builder, values[0], len(addresses))
        places = [builder.inttoptr(address, machine) for address in each]
        return context.make_tuple(builder, result, places)

    return result(addresses, kind), generate


@intrinsic
def numbers(typing: Any, addresses: Any, kind: Any) -> Any:
    """Pointers to numbers of an array's dtype, from a tuple of addresses."""
    return _pointers(addresses, kind, types.CPointer(kind.dtype))


@intrinsic
def rows(typing: Any, addresses: Any, kind: Any) -> Any:
    """Pointers to rows of sixteen such numbers."""
    return _pointers(addresses, kind, types.CPointer(Lanes(kind.dtype)))


@intrinsic
def numbers_of(typing: Any, x: Any) -> Any:
    """A pointer to rows as a pointer to their numbers."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.bitcast(values[0], context.get_value_type(signature.return_type))

    return types.CPointer(x.dtype.number)(x), generate


@intrinsic
def _ahead(typing: Any, pointer: Any, count: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.gep(values[0], [values[1]])

    return pointer(pointer, types.intp), generate


@overload(operator.add, strict=False)
def _add_to_a_pointer(pointer: Any, count: Any) -> Any:
    if isinstance(pointer, types.CPointer) and isinstance(count, types.Integer):
        return lambda pointer, count: _ahead(pointer, count)
    return None


@intrinsic
def load(typing: Any, x: Any, row: Any) -> Any:
    """Row x[row]."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        place = builder.gep(values[0], [values[1]])
        return builder.load(place, align=x.dtype.number.bitwidth // 8)

    return x.dtype(x, types.intp), generate


@intrinsic
def store(typing: Any, x: Any, row: Any, lanes: Any) -> Any:
    """x[row] = lanes."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        place = builder.gep(values[0], [values[1]])
        builder.store(values[2], place, align=lanes.number.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(x, types.intp, lanes), generate


@intrinsic
def spread(typing: Any, x: Any, at: Any) -> Any:
    """Number x[at], broadcast."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return _splat(builder, builder.load(builder.gep(values[0], [values[1]])))

    return Lanes(x.dtype)(x, types.intp), generate


@intrinsic
def nothing(typing: Any, x: Any) -> Any:
    """A row of zeros, for rows like x's."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return ir.Constant(context.get_value_type(x.dtype), [0.0] * WIDTH)

    return x.dtype(x), generate


@intrinsic
def move(typing: Any, x: Any, at: Any, out: Any, to: Any) -> Any:
    """One number, out[to] = x[at]; either may be rows, indexed by number."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        machine = context.get_value_type(_number(x)).as_pointer()
        source, target = (builder.bitcast(values[i], machine) for i in (0, 2))
        number = builder.load(builder.gep(source, [values[1]]))
        builder.store(number, builder.gep(target, [values[3]]))
        return context.get_dummy_value()

    return types.void(x, types.intp, out, types.intp), generate


@intrinsic
def turn(typing: Any, x: Any, down: Any, out: Any, along: Any) -> Any:
    """Transpose 16 × 16 numbers: rows at x, `down` numbers apart, to columns at out, whose rows are
    `along` numbers apart.
    """

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        number = _number(x)
        machine, align = context.get_value_type(number).as_pointer(), number.bitwidth // 8
        whole = ir.VectorType(machine.pointee, WIDTH).as_pointer()

        def places(start: Any, step: Any) -> list[Any]:
            first = builder.bitcast(start, machine)
            steps = [builder.mul(step, step.type(i)) for i in range(WIDTH)]
            return [builder.bitcast(builder.gep(first, [each]), whole) for each in steps]

        block = [builder.load(place, align=align) for place in places(*values[:2])]
        for place, row in zip(places(*values[2:]), _turned(builder, block), strict=True):
            builder.store(row, place, align=align)
        return context.get_dummy_value()

    return types.void(x, types.intp, out, types.intp), generate


def _number(pointer: Any) -> Any:
    return pointer.dtype.number if isinstance(pointer.dtype, Lanes) else pointer.dtype


def _turned(builder: Any, block: list[Any]) -> list[Any]:
    """Transpose sixteen vectors by swapping halves four times."""
    for size in (8, 4, 2, 1):
        first = [i if not i & size else WIDTH + i - size for i in range(WIDTH)]
        second = [i + size if not i & size else WIDTH + i for i in range(WIDTH)]
        after = list(block)
        for i in range(WIDTH):
            if not i & size:
                pair = block[i], block[i + size]
                after[i] = _shuffle(builder, *pair, first)
                after[i + size] = _shuffle(builder, *pair, second)
        block = after
    return block


def _shuffle(builder: Any, a: Any, b: Any, order: list[int]) -> Any:
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), WIDTH), order))


def _splat(builder: Any, number: Any) -> Any:
    vector = ir.VectorType(number.type, WIDTH)
    first = builder.insert_element(
        ir.Constant(vector, ir.Undefined), number, ir.Constant(ir.IntType(32), 0)
    )
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), WIDTH), [0] * WIDTH)
    return builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), zeros)


# --- arithmetic ---------------------------------------------------------------------------------


@intrinsic
def like(typing: Any, lanes: Any, number: Any) -> Any:
    """The number, broadcast, in the precision of other lanes."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return _splat(builder, context.cast(builder, values[1], number, lanes.number))

    return lanes(lanes, number), generate


def _binary(instruction: str) -> Any:
    @intrinsic
    def compute(typing: Any, a: Any, b: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            return getattr(builder, instruction)(*values)

        return a(a, b), generate

    return compute


def _define(symbol: Callable[..., Any], instruction: str) -> None:
    compute = _binary(instruction)

    @overload(symbol, strict=False)
    def choose_by_types(a: Any, b: Any) -> Any:
        if isinstance(a, Lanes) and isinstance(b, Lanes):
            return lambda a, b: compute(a, b)
        if isinstance(a, Lanes) and isinstance(b, types.Number):
            return lambda a, b: compute(a, like(a, b))
        if isinstance(a, types.Number) and isinstance(b, Lanes):
            return lambda a, b: compute(like(b, a), b)
        return None


for _symbol, _instruction in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
):
    _define(_symbol, _instruction)


@intrinsic
def fma(typing: Any, a: Any, b: Any, c: Any) -> Any:
    """a · b + c, rounded once."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return _fma(builder, *values)

    return a(a, b, c), generate


@intrinsic
def choose(typing: Any, condition: Any, a: Any, b: Any) -> Any:
    """a where the condition is not 0, else b."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        zero = ir.Constant(values[0].type, [0.0] * WIDTH)
        return builder.select(builder.fcmp_unordered("!=", values[0], zero), *values[1:])

    return a(condition, a, b), generate


@intrinsic
def above(typing: Any, a: Any, b: Any) -> Any:
    """1 where a > b, else 0."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        vector = values[0].type
        one, zero = (ir.Constant(vector, [number] * WIDTH) for number in (1.0, 0.0))
        return builder.select(builder.fcmp_ordered(">", *values), one, zero)

    return a(a, b), generate


@inlined
def larger(a: Any, b: Any) -> Any:
    """The larger one; b where either is NaN."""
    return choose(above(a, b), a, b)


@intrinsic
def where(typing: Any, lanes: Any) -> Any:
    """Which lanes are not 0, a bit each, the first the lowest."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        zero = ir.Constant(values[0].type, [0.0] * WIDTH)
        bits = builder.bitcast(builder.fcmp_unordered("!=", values[0], zero), ir.IntType(WIDTH))
        return builder.zext(bits, ir.IntType(64))

    return types.int64(lanes), generate


@inlined
def anywhere(lanes: Any) -> bool:
    """Whether any lane is not 0."""
    found: bool = where(lanes) != 0
    return found


@intrinsic
def lowest(typing: Any, bits: Any) -> Any:
    """The position of the lowest set bit, of at least one."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.cttz(values[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), generate


# --- functions ----------------------------------------------------------------------------------

# Adding it leaves n in a number's last bits, to be shifted into the exponent of 2^n.
_ROUND = {32: 1.5 * 2.0**23, 64: 1.5 * 2.0**52}
_FRACTION = {32: 23, 64: 52}
_LIMIT = {32: 87.0, 64: 708.0}
_TERMS = {32: 8, 64: 14}  # of the power series, for an error below the last bit
_LN2_HIGH = {32: 0.693359375, 64: 0.693147180369123816490}  # few bits: n times it is exact
_LN2_LOW = {32: -2.12194440054690583e-4, 64: 1.90821492927058770002e-10}


def _fma(builder: Any, *operands: Any) -> Any:
    vector = operands[0].type
    bits = {ir.FloatType(): 32, ir.DoubleType(): 64}[vector.element]
    kind = ir.FunctionType(vector, [vector] * 3)
    name = f"llvm.fma.v{WIDTH}f{bits}"
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), operands)


def _split_exponential(builder: Any, value: Any, width: int) -> tuple[Any, Any, Any]:
    """e^x as 2^n · (1 + rest): 2^n, the rest and 1; x is clamped, so that both are finite."""
    vector, whole = value.type, ir.VectorType(ir.IntType(width), WIDTH)

    def constant(number: float) -> Any:
        return ir.Constant(vector, [number] * WIDTH)

    for sign, bound in ((">", _LIMIT[width]), ("<", -_LIMIT[width])):
        outside = builder.fcmp_ordered(sign, value, constant(bound))  # false for NaN
        value = builder.select(outside, constant(bound), value)
    shifted = _fma(builder, value, constant(1 / math.log(2)), constant(_ROUND[width]))
    n = builder.fsub(shifted, constant(_ROUND[width]))
    rest = _fma(builder, n, constant(-_LN2_HIGH[width]), value)
    rest = _fma(builder, n, constant(-_LN2_LOW[width]), rest)
    total = constant(1 / math.factorial(_TERMS[width] - 1))
    for power in reversed(range(1, _TERMS[width] - 1)):
        total = _fma(builder, total, rest, constant(1 / math.factorial(power)))
    fraction = ir.Constant(whole, [_FRACTION[width]] * WIDTH)
    exponent = builder.shl(builder.bitcast(shifted, whole), fraction)
    two_to_n = builder.add(exponent, builder.bitcast(constant(1.0), whole))
    return builder.bitcast(two_to_n, vector), builder.fmul(total, rest), constant(1.0)


@intrinsic
def exp(typing: Any, x: Any) -> Any:
    """e^x to the last bit or two, with x clamped to where that is finite and not 0."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        scale, rest, _ = _split_exponential(builder, values[0], x.number.bitwidth)
        return _fma(builder, scale, rest, scale)

    return x(x), generate


@intrinsic
def expm1(typing: Any, x: Any) -> Any:
    """e^x - 1 to the last bits, also near 0."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        scale, rest, one = _split_exponential(builder, values[0], x.number.bitwidth)
        return _fma(builder, scale, rest, builder.fsub(scale, one))

    return x(x), generate


@inlined
def sigmoid(x: Any) -> Any:
    """1 / (1 + e^-x)."""
    return 1.0 / (1.0 + exp(0.0 - x))


@inlined
def tanh(x: Any) -> Any:
    """The hyperbolic tangent."""
    twice = expm1(x + x)
    return twice / (twice + 2.0)
