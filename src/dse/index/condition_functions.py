"""Patterns and functions of a condition, as Lance has them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import pyarrow as pa
import pyarrow.types as pt
from sqlglot import exp

from dse.index.condition_terms import Terms, is_text, refuse
from dse.index.condition_values import Constant, Term, Unfit, column_term, compared, floating, quoted


def constant_sql(kind: pa.DataType, constant: Constant) -> str:
    """A constant beside text, flags or floating-point numbers.

    Raises:
        Unfit: If it is of another kind.
    """
    if pt.is_floating(kind):
        return floating(constant, kind)
    if is_text(kind):
        if constant.kind != "text":
            raise Unfit("write text in single quotes")
        return quoted(str(constant.value))
    if pt.is_boolean(kind):
        if constant.kind != "flag":
            raise Unfit("write true or false")
        return str(constant.value).lower()
    raise Unfit("such columns are not compared")


def like(terms: Terms, node: exp.Expression) -> str:
    """A comparison with a pattern."""
    escape = None
    if isinstance(node, exp.Escape):
        mark = terms.operand(node.expression)
        if not isinstance(mark, Constant) or mark.kind != "text" or len(str(mark.value)) != 1:
            refuse(node, "is not understood: write one character in single quotes behind escape")
        escape, node = str(mark.value), node.this
    if not isinstance(node, exp.Like | exp.ILike):
        refuse(node, "is not understood")
    term, pattern = _text_and_constant(terms, node, node.this, node.expression)
    word = "like" if isinstance(node, exp.Like) else "ilike"
    negation = "not " if node.args.get("negate") else ""
    return f"({term.sql} {negation}{word} {quoted(_pattern(node, pattern, escape))})"


def _pattern(node: exp.Expression, text: str, escape: str | None) -> str:
    """A pattern in which a backslash escapes, as Lance reads it; SQL has no such character unless it is named."""
    parts, characters = [], iter(text)
    for character in characters:
        if character == escape:
            character = next(characters, "")
            if not character:
                refuse(node, "ends with its escape character")
            parts.append(f"\\{character}" if character in "%_\\" else character)
        else:
            parts.append("\\\\" if character == "\\" else character)
    return "".join(parts)


def _of_texts(name: str, terms: Terms, node: exp.Expression) -> str:
    term, constant = _text_and_constant(terms, node, *_arguments(node))
    return f"{name}({term.sql}, {quoted(constant)})"


def _text_and_constant(
    terms: Terms, node: exp.Expression, left: exp.Expression, right: exp.Expression
) -> tuple[Term, str]:
    term, constant = terms.operand(left), terms.operand(right)
    if not (
        isinstance(term, Term) and is_text(term.kind) and isinstance(constant, Constant) and constant.kind == "text"
    ):
        refuse(node, "needs a column of text, then text in single quotes")
    return term, str(constant.value)


def _kind(operand: Term | Constant) -> str:
    return operand.kind if isinstance(operand, Constant) else ""


def _array_has(terms: Terms, node: exp.Expression) -> str:
    term, constant = (terms.operand(argument) for argument in _arguments(node))
    if not (isinstance(term, Term) and _is_list(term.kind) and isinstance(constant, Constant)):
        refuse(node, "needs a column of lists, then a constant")
    kind = term.kind.value_type
    try:
        if pt.is_integer(kind):
            item = column_term("item", kind)
            assert item.units is not None
            equal = compared(item, "=", item.units.count(constant))
            if equal.startswith("(item = "):
                return f"array_has({term.sql}, {equal.removeprefix('(item = ').removesuffix(')')})"
        elif is_text(kind) or pt.is_boolean(kind) or kind == pa.float64():
            return f"array_has({term.sql}, {constant_sql(kind, constant)})"
    except Unfit as error:
        refuse(node, f"looks in lists of {kind} for something else: {error}")
    refuse(node, f"cannot look in lists of {kind}")


def _is_list(kind: pa.DataType) -> bool:
    return bool(pt.is_list(kind) or pt.is_fixed_size_list(kind))


def _arguments(node: exp.Expression) -> list[exp.Expression]:
    arguments = node.expressions if isinstance(node, exp.Anonymous) else [node.this, node.args.get("expression")]
    if len(arguments) != 2 or any(argument is None for argument in arguments):
        refuse(node, "needs two arguments")
    return list(arguments)


_CONTAINS, _STARTS, _MATCHES = (partial(_of_texts, name) for name in ("contains", "starts_with", "regexp_like"))
FUNCTIONS: Mapping[str, Callable[[Terms, exp.Expression], str]] = {
    **dict.fromkeys(("contains",), _CONTAINS),
    **dict.fromkeys(("starts_with", "startswith"), _STARTS),
    **dict.fromkeys(("regexp_like", "regexp_match", "regexp_matches"), _MATCHES),
    **dict.fromkeys(("array_has", "array_contains", "list_contains", "list_has"), _array_has),
}
