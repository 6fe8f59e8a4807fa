"""Errors as clients parse them: one sentence, in the shape of OpenAI and Cohere or in that of TEI."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse

# Types of errors by status: the word that TEI uses, the one that OpenAI uses.
TYPES = {
    400: ("Empty", "invalid_request_error"),
    401: ("Unauthorized", "authentication_error"),
    404: ("NotFound", "not_found_error"),
    405: ("NotFound", "invalid_request_error"),
    408: ("Timeout", "timeout_error"),
    413: ("Validation", "invalid_request_error"),
    422: ("Validation", "invalid_request_error"),
    429: ("Overloaded", "rate_limit_error"),
    500: ("Backend", "server_error"),
    503: ("Unhealthy", "server_error"),
    504: ("Timeout", "timeout_error"),
}
TEI_PATHS = (
    "/rerank",
    "/predict",
    "/similarity",
    "/embed",
)  # elsewhere clients of OpenAI or Cohere
RETRY_SECONDS = 1


class RequestError(Exception):
    """A request that is refused.

    Args:
        status: HTTP status.
        message: One sentence: what is wrong, and what to do.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


def error_response(status: int, message: str, *, tei: bool, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The response to a request that is refused or has failed.

    Args:
        status: HTTP status.
        message: One sentence.
        tei: Whether ``error`` is the sentence, as clients of TEI read it, or an object, as those of OpenAI do.
        headers: More headers.

    Example:
        >>> error_response(422, "No.", tei=True).body
        b'{"error":"No.","error_type":"Validation","message":"No.","detail":"No."}'
    """
    word, kind = TYPES.get(status, TYPES[422 if status < 500 else 500])
    error: Any = message if tei else {"message": message, "type": kind, "param": None, "code": status}
    content = {"error": error, "error_type": word, "message": message, "detail": message}
    more = {"Retry-After": str(RETRY_SECONDS)} if status in (429, 503) else {}
    if status == 401:
        more["WWW-Authenticate"] = "Bearer"
    return JSONResponse(content, status, {**more, **(headers or {})})


def validation_sentence(errors: list[Mapping[str, Any]]) -> tuple[int, str]:
    """Status and sentence for a body that does not fit; nothing of the body is repeated."""
    first = errors[0]
    if first["type"] == "json_invalid":
        return 400, "The body is not valid JSON; send one JSON object in UTF-8."
    names = [str(part) for part in first["loc"][1:] if isinstance(part, int) or str(part).isidentifier()]
    reason = str(first["msg"]).removeprefix("Value error, ").rstrip(".").replace("Input should", "it should")
    if first["type"] == "value_error" and not names:  # fields that do not fit together
        return 422, f"{reason}."
    if not names:
        return 422, "The body is no JSON object; send one with Content-Type: application/json."
    if len(names) < len(first["loc"]) - 1:  # one of several forms, none of which fits
        return 422, f"{names[0]} has none of its forms; /docs lists them."
    return (
        422,
        f"{'.'.join(names)}: {reason if first['type'] == 'value_error' else f'{reason}; /docs lists the fields'}.",
    )
