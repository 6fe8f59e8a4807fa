"""What the comparisons of a condition compare: columns, constants, and what is computed from them."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import NoReturn

import pyarrow as pa
import pyarrow.types as pt
from sqlglot import exp

from dse.index.condition_values import EXACT_DIGITS, Constant, Term, Unfit, column_term, decimal_units, floating

_ARITHMETIC = {exp.Add: "+", exp.Sub: "-", exp.Mul: "*", exp.Div: "/", exp.Mod: "%"}
_TEXT_FUNCTIONS = {exp.Lower: "lower", exp.Upper: "upper"}
_KNOWN = (
    "comparisons, and, or, not, in, between, like, ilike, is null, is true, + - *, lower, upper, length, contains, "
    "starts_with, regexp_like, array_has"
)
_MOST_DIGITS = 12  # after the point of a product; more could run over


class Terms:
    """Finds the columns that a condition names.

    Args:
        columns: The columns that it may name.
    """

    def __init__(self, columns: pa.Schema) -> None:
        self._columns = columns

    def operand(self, node: exp.Expression) -> Term | Constant:
        """A column, a constant, or what is computed from columns."""
        node = bare(node)
        if isinstance(node, exp.Column | exp.Dot):
            return self._column(node)
        if (constant := _constant(node)) is not None:
            return constant
        if type(node) in _TEXT_FUNCTIONS:
            term = self.operand(node.this)
            if isinstance(term, Term) and is_text(term.kind):
                return Term(f"{_TEXT_FUNCTIONS[type(node)]}({term.sql})", pa.string())
        if isinstance(node, exp.Length):
            term = self.operand(node.this)
            if isinstance(term, Term) and is_text(term.kind):
                return column_term(f"cast(character_length({term.sql}) as bigint)", pa.int64())
        if type(node) in _ARITHMETIC:
            return self._arithmetic(node)
        if isinstance(node, exp.Neg):
            return self._arithmetic(exp.Sub(this=exp.Literal.number(0), expression=node.this))
        refuse(node, f"is not understood: a condition may hold {_KNOWN}")

    def _column(self, node: exp.Expression) -> Term:
        names = _path(node)
        field, sql = _field(names[0], list(self._columns), "no column"), ""
        sql = f"`{field.name}`"
        for name in names[1:]:
            inner = list(field.type) if pt.is_struct(field.type) else []
            field = _field(name, inner, f"no field of {field.name!r}")
            sql += f".`{field.name}`"
        return column_term(sql, field.type)

    def _arithmetic(self, node: exp.Expression) -> Term:
        sign, sides = _ARITHMETIC[type(node)], [self.operand(node.this), self.operand(node.args["expression"])]
        if any(isinstance(side, Term) and side.kind == pa.float64() for side in sides):
            return self._floating_arithmetic(node, sign, sides)
        if sign == "%":
            return self._remainder(node, *sides)
        if sign == "/":
            refuse(node, "divides whole numbers, which databases do not agree on: multiply the other side")
        exact = [_exact(node, side) for side in sides]
        scale = sum(s for _, s in exact) if sign == "*" else max(s for _, s in exact)
        if scale > 12:
            refuse(node, "has too many digits after the point")
        kinds = [s if sign == "*" else scale for _, s in exact]
        left, right = (f"cast({sql} as decimal({EXACT_DIGITS},{s}))" for (sql, _), s in zip(exact, kinds, strict=True))
        # Whole numbers in 64 bits would run over without an error.
        sql = f"cast({left} {sign} {right} as decimal({EXACT_DIGITS},{scale}))"
        return Term(sql, pa.decimal128(EXACT_DIGITS, scale), decimal_units(EXACT_DIGITS, scale))

    @staticmethod
    def _floating_arithmetic(node: exp.Expression, sign: str, sides: list[Term | Constant]) -> Term:
        shown = []
        for side in sides:
            if isinstance(side, Constant) and side.kind == "number":
                shown.append(floating(side, pa.float64()))
            elif isinstance(side, Term) and (pt.is_floating(side.kind) or side.kind in (pa.int64(), pa.int32())):
                shown.append(f"cast({side.sql} as double)")
            else:
                refuse(node, "computes with something that is no number")
        divisor = sides[1]
        if sign in "/%" and not (isinstance(divisor, Constant) and divisor.value):
            refuse(node, "divides by a column: write a number")
        return Term(f"({shown[0]} {sign} {shown[1]})", pa.float64())

    @staticmethod
    def _remainder(node: exp.Expression, left: Term | Constant, right: Term | Constant) -> Term:
        if not (isinstance(left, Term) and pt.is_signed_integer(left.kind) and isinstance(right, Constant)):
            refuse(node, "needs a column of whole numbers, then a number")
        if not isinstance(right.value, Fraction) or right.value.denominator != 1 or not 0 < right.value < 2**31:
            refuse(node, "needs a whole number behind %")
        return column_term(f"(cast({left.sql} as bigint) % {right.value})", pa.int64())


def is_text(kind: pa.DataType) -> bool:
    """Whether values of a type are text."""
    return bool(pt.is_string(kind) or pt.is_large_string(kind) or pt.is_string_view(kind))


def bare(node: exp.Expression) -> exp.Expression:
    """What stands in brackets."""
    while isinstance(node, exp.Paren):
        node = node.this
    return node


def function_name(node: exp.Expression) -> str:
    """The name of the function that is called, in lower case; empty where none is."""
    if isinstance(node, exp.Anonymous):
        return str(node.this).lower()
    return node.sql_name().lower() if isinstance(node, exp.Func) else ""


def refuse(node: exp.Expression, problem: str) -> NoReturn:
    """Refuse a part of a condition.

    Raises:
        Unfit: Always.
    """
    raise Unfit(f"{node.sql()} {problem}")


def _constant(node: exp.Expression) -> Constant | None:
    if isinstance(node, exp.Null):
        return Constant(None, "null")
    if isinstance(node, exp.Boolean):
        return Constant(bool(node.this), "flag")
    if isinstance(node, exp.Literal):
        return Constant(node.this, "text") if node.is_string else Constant(_number(node), "number")
    if isinstance(node, exp.Neg) and isinstance(bare(node.this), exp.Literal | exp.Neg):
        inner = _constant(bare(node.this))
        if inner is not None and isinstance(inner.value, Fraction):
            return Constant(-inner.value, "number")
    if (
        isinstance(node, exp.Cast)
        and type(node) is exp.Cast
        and isinstance(node.this, exp.Literal)
        and node.this.is_string
    ):
        kind = {"DATE": "date", "TIMESTAMP": "timestamp", "TIMESTAMPTZ": "timestamp", "DATETIME": "timestamp"}
        if (name := node.to.sql().upper()) in kind:
            return Constant(node.this.this, kind[name])
    return None


def _number(node: exp.Literal) -> Fraction:
    text = str(node.this)
    mantissa, _, exponent = text.lower().partition("e")
    if len(mantissa) > 400 or len(exponent) > 4:
        refuse(node, "is beyond every column")
    try:
        return Fraction(text)
    except ValueError:
        refuse(node, "is no number")


def _path(node: exp.Expression) -> list[str]:
    """The names of a column and of the fields in it."""
    if isinstance(node, exp.Dot):
        if not isinstance(node.expression, exp.Identifier):
            refuse(node, "is no field of a column")
        return [*_path(node.this), node.expression.name]
    if not isinstance(node, exp.Column) or not all(isinstance(part, exp.Identifier) for part in node.parts):
        refuse(node, "is no column")
    return [part.name for part in node.parts]


def _field(name: str, fields: Sequence[pa.Field], nothing: str) -> pa.Field:
    """The field of a name; in whatever case, as SQL has it, where only one has it."""
    found = [field for field in fields if field.name == name]
    found = found or [field for field in fields if field.name.lower() == name.lower()]
    if len(found) != 1:
        raise Unfit(
            f"there is {nothing} called {name!r}, only {', '.join(field.name for field in fields) or 'none at all'}; "
            "text stands in single quotes, names in double ones"
        )
    return found[0]


def _exact(node: exp.Expression, side: Term | Constant) -> tuple[str, int]:
    """A whole number or decimal in Lance's SQL, and its digits after the point."""
    if isinstance(side, Constant):
        if isinstance(side.value, Fraction) and side.kind == "number":
            for scale in range(_MOST_DIGITS + 1):
                units = side.value * 10**scale
                if units.denominator == 1 and abs(units) < 10 ** (EXACT_DIGITS // 2):
                    return decimal_units(EXACT_DIGITS, scale).shown(int(units)), scale
    elif side.units is not None and side.units.scale is not None:
        return side.sql, side.units.scale
    refuse(node, "computes with something that is no whole number or decimal")
