"""What schemathesis has to know to explore the server: loaded by it, not by pytest.

Two formats that it cannot write or read by itself, and which errors of a server are none.
"""

import json
from typing import Any

import msgpack
import schemathesis

BEYOND_SCHEMAS = {
    "/docs#balance-limit-reached",
    "/docs#idempotency-key-reused",
    "/docs#invalid-amount",
    "/docs#invalid-reference",
    "/docs#invalid-user",
}
"""Six decimals, bytes of UTF-8, and what was credited before."""
NOT_POSITIVE = b'{"Message":"Amount must be positive"}'


@schemathesis.serializer("application/x-ndjson")
def write_lines(_: schemathesis.SerializationContext, value: Any) -> bytes:
    lines = value if isinstance(value, list) else [value]
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


@schemathesis.serializer("application/msgpack")
def write_msgpack(_: schemathesis.SerializationContext, value: Any) -> bytes:
    try:
        return msgpack.packb(value)
    except (OverflowError, ValueError, UnicodeEncodeError):
        # msgpack has no such integer, or no such text: any bytes will do.
        return repr(value).encode()


@schemathesis.deserializer("application/x-ndjson")
def read_lines(
    _: schemathesis.DeserializationContext, response: schemathesis.Response
) -> list[Any]:
    return [json.loads(line) for line in response.content.splitlines()]


@schemathesis.check
def fails_as_documented(
    _: schemathesis.CheckContext, response: schemathesis.Response, case: schemathesis.Case
) -> None:
    """Nothing is the server's fault, but for the status that the wire contract has."""
    if response.status_code >= 500:
        assert response.content == NOT_POSITIVE, response.content
        assert case.operation.label == "POST /users/{uid}/add"


@schemathesis.check
def takes_what_is_valid(
    _: schemathesis.CheckContext, response: schemathesis.Response, case: schemathesis.Case
) -> None:
    """What the description allows is refused only for what it can say in words alone."""
    is_valid = case.meta is not None and case.meta.generation.mode.is_positive
    if is_valid and response.status_code >= 400:
        assert json.loads(response.content)["type"] in BEYOND_SCHEMAS, response.content
