"""Conditions on the columns of an index: SQL, parsed to its end, checked, and written again for Lance.

Lance's own parser stops where it understands no more, and drops the rest: ``lang = 'en' AMD price < 50`` would delete
every English row. So sqlglot parses conditions, and whatever is not known here is refused before anything is touched.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import pyarrow as pa
import pyarrow.types as pt
from sqlglot import exp
from sqlglot.dialects.dialect import Dialect
from sqlglot.errors import SqlglotError
from sqlglot.tokens import Tokenizer as StandardTokenizer
from sqlglot.tokens import TokenType

from dse.errors import BadDataError
from dse.index.condition_functions import FUNCTIONS, constant_sql, like
from dse.index.condition_terms import Terms, bare, function_name, is_text, refuse
from dse.index.condition_values import Constant, Term, Unfit, always, compared

_COMPARISONS = {exp.EQ: "=", exp.NEQ: "<>", exp.LT: "<", exp.LTE: "<=", exp.GT: ">", exp.GTE: ">="}
# What is read of a parsed part; a part that holds more (a flag, a query) is refused, not read in half.
_READ = frozenset("this expression expressions low high to table db catalog quoted is_string".split())
_TURNED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


class _Sql(Dialect):
    """Standard SQL, where names may also stand in backticks, as Lance writes them."""

    class Tokenizer(StandardTokenizer):
        """Strings in single quotes, names in double quotes or backticks."""

        IDENTIFIERS = ['"', "`"]


@lru_cache(maxsize=256)
def lance_condition(text: str, columns: pa.Schema) -> str:
    r"""A condition on these columns in Lance's SQL.

    Args:
        text: SQL: text stands in single quotes, a name that is no plain word in double quotes or backticks.
        columns: The columns that it may name.

    Raises:
        BadDataError: If a part of it is not understood.

    Example:
        >>> lance_condition("price < 50 and \"Lang\" = 'en'", pa.schema({"price": pa.int64(), "Lang": pa.string()}))
        "((`price` < 50) and (`Lang` = 'en'))"
    """
    try:
        if any(token.token_type == TokenType.SEMICOLON or token.comments for token in _Sql().tokenize(text)):
            raise Unfit("it holds ';' or a comment; leave that out")
        tree = _Sql().parse_into(exp.Condition, text)[0]
        if tree is None:
            raise Unfit("it is empty; leave it out or write one such as price < 50")
        for node in tree.walk():
            known = _READ | {"negate"} if isinstance(node, exp.Like | exp.ILike) else _READ
            if unknown := {name for name, value in node.args.items() if value} - known:
                refuse(node, f"is not understood ({', '.join(sorted(unknown))})")
        return _Condition(columns).predicate(tree)
    except SqlglotError as error:
        raise BadDataError(f"The condition {text!r} cannot be read: {_where(error)}; correct it.") from None
    except Unfit as error:
        raise BadDataError(f"The condition {text!r} cannot be used: {error}.") from None
    except RecursionError:
        raise BadDataError("The condition is nested too deeply; write it with IN, or search several times.") from None


def _where(error: SqlglotError) -> str:
    cause: Any = error.__cause__ or error
    details = (getattr(cause, "errors", None) or getattr(error, "errors", None) or [{}])[-1]
    if "start_context" in details:
        before, at = details["start_context"].strip()[-30:], details["highlight"]
        return f"{at!r} after {before!r} is not understood" if before else f"{at!r} is not understood"
    return "a quotation mark or bracket is not closed"


class _Condition:
    """Writes a parsed condition for Lance.

    Args:
        columns: The columns that it may name.
    """

    def __init__(self, columns: pa.Schema) -> None:
        self._terms = Terms(columns)
        self._predicates: dict[type[exp.Expression], Callable[[Any], str]] = {
            exp.Paren: lambda node: self.predicate(node.this),
            exp.And: lambda node: self._joined(node, exp.And, "and"),
            exp.Or: lambda node: self._joined(node, exp.Or, "or"),
            exp.Not: lambda node: f"(not {self.predicate(node.this)})",
            exp.Boolean: lambda node: "true" if node.this else "false",
            exp.Is: self._is,
            exp.In: self._in,
            exp.Between: self._between,
            exp.Like: lambda node: like(self._terms, node),
            exp.ILike: lambda node: like(self._terms, node),
            exp.Escape: lambda node: like(self._terms, node),
        } | dict.fromkeys(_COMPARISONS, self._comparison)

    def predicate(self, node: exp.Expression) -> str:
        """What is true, false or unknown for a row."""
        if type(node) in self._predicates:
            return self._predicates[type(node)](node)
        if (name := function_name(node)) in FUNCTIONS:
            return FUNCTIONS[name](self._terms, node)
        term = self._terms.operand(node)
        if isinstance(term, Term) and pt.is_boolean(term.kind):
            return term.sql
        refuse(node, "is no condition: compare it with something")

    def _joined(self, node: exp.Expression, kind: type[exp.Expression], word: str) -> str:
        parts = []
        while isinstance(node, kind):  # a chain leans to the left
            parts.append(self.predicate(node.args["expression"]))
            node = node.this
        return f"({f' {word} '.join([self.predicate(node), *reversed(parts)])})"

    # ---------------------------------------------------------------------------------------------- comparisons

    def _comparison(self, node: exp.Binary) -> str:
        left, right, sign = self._terms.operand(node.left), self._terms.operand(node.right), _COMPARISONS[type(node)]
        if isinstance(left, Constant) and isinstance(right, Term):
            left, right, sign = right, left, _TURNED.get(sign, sign)
        if isinstance(left, Term) and isinstance(right, Constant):
            return self._with_constant(node, left, sign, right)
        if isinstance(left, Term) and isinstance(right, Term):
            return self._of_terms(node, left, sign, right)
        return self._of_constants(node, left, sign, right)

    def _with_constant(self, node: exp.Expression, term: Term, sign: str, constant: Constant) -> str:
        if constant.kind == "null":
            refuse(node, "is never true: write is null or is not null")
        try:
            if term.units is not None:
                return compared(term, sign, term.units.count(constant))
            return f"({term.sql} {sign} {constant_sql(term.kind, constant)})"
        except Unfit as error:
            refuse(node, f"compares a column of type {term.kind} with something else: {error}")

    @staticmethod
    def _of_terms(node: exp.Expression, left: Term, sign: str, right: Term) -> str:
        both = (left.kind, right.kind)
        same = left.kind == right.kind and not pt.is_nested(left.kind)
        # Whole numbers beyond 2^53 have no float of their own: compared with one, some would be rounded.
        kin = any(all(map(is_kin, both)) for is_kin in (pt.is_integer, pt.is_floating, is_text))
        if not same and not kin:
            refuse(node, f"compares columns of types {left.kind} and {right.kind}")
        return f"({left.sql} {sign} {right.sql})"

    @staticmethod
    def _of_constants(node: exp.Expression, left: Any, sign: str, right: Any) -> str:
        if left.kind != right.kind or left.kind not in ("number", "text"):
            refuse(node, "names no column")
        holds = {
            "=": left.value == right.value,
            "<>": left.value != right.value,
            "<": left.value < right.value,
            "<=": left.value <= right.value,
            ">": left.value > right.value,
            ">=": left.value >= right.value,
        }[sign]
        return "true" if holds else "false"

    def _is(self, node: exp.Is) -> str:
        what = node.expression
        if isinstance(what, exp.Boolean):
            return f"({self.predicate(node.this)} is {'true' if what.this else 'false'})"
        if not isinstance(what, exp.Null):
            refuse(node, "is not understood: write is null, is true or is false")
        if type(bare(node.this)) in self._predicates or function_name(bare(node.this)) in FUNCTIONS:
            return f"({self.predicate(node.this)} is null)"
        term = self._terms.operand(node.this)
        if isinstance(term, Constant):
            refuse(node, "names no column")
        return f"({term.sql} is null)"

    def _in(self, node: exp.In) -> str:
        if not node.expressions:
            refuse(node, "is not understood: write a list of constants behind in")
        term = self._terms.operand(node.this)
        operands = [self._terms.operand(item) for item in node.expressions]
        constants = [operand for operand in operands if isinstance(operand, Constant)]
        if isinstance(term, Constant) or len(constants) < len(operands):
            refuse(node, "is not understood: write a column before in, and constants behind it")
        has_null = any(constant.kind == "null" for constant in constants)
        shown: list[str] = []
        for constant in constants:
            if constant.kind != "null":
                equal = self._with_constant(node, term, "=", constant)
                if equal != always(term, False):
                    shown.append(equal.removeprefix(f"({term.sql} = ").removesuffix(")"))
        if not shown:
            return f"({always(term, False)} or null)" if has_null else always(term, False)
        return f"({term.sql} in ({', '.join(shown + ['null'] * has_null)}))"

    def _between(self, node: exp.Between) -> str:
        least = self._comparison(exp.GTE(this=node.this, expression=node.args["low"]))
        most = self._comparison(exp.LTE(this=node.this, expression=node.args["high"]))
        return f"({least} and {most})"
