"""Who is let in with which API key, and what the others are told."""

import base64
import json
from collections.abc import Mapping

import httpx
import pytest
from agreement import (
    CLOSE,
    NOTHING_THERE,
    Agreement,
    Expected,
    add,
    added,
    balance,
    get_balance,
    message,
    not_allowed,
    problem,
    request,
)

from api import problem_types as types
from bench.server_process import ServerProcess

Keys = Mapping[str, str]
NO_KEY = (
    problem(types.UNAUTHENTICATED, "send an API key: Authorization: Bearer KEY")
    + {"www-authenticate": "Bearer"}
    + CLOSE
)
UNKNOWN = {"www-authenticate": 'Bearer error="invalid_token"'}
UNKNOWN_KEY = problem(types.UNAUTHENTICATED, "this is no API key of this server") + UNKNOWN + CLOSE
NO_BEARER = (
    problem(types.UNAUTHENTICATED, "authorization must be Bearer, and an API key") + UNKNOWN + CLOSE
)
OTHER_USERS = problem(types.FORBIDDEN, "this API key is not for users of that name")
CREATED = b'{"result":"created"}\n'
LINES = {"content-type": "application/x-ndjson"}


def bearer(key: str) -> bytes:
    return b"Authorization: Bearer " + key.encode()


def lacks(scope: str) -> Expected:
    return problem(types.FORBIDDEN, f"this API key has not the scope {scope}")


def history(user: str, *headers: bytes) -> bytes:
    return request(b"GET /users/%s/history HTTP/1.1" % user.encode(), *headers)


def bulk(users: list[str], *headers: bytes) -> bytes:
    body = json.dumps([{"user": user, "amount": 1} for user in users]).encode()
    length = b"Content-Length: %d" % len(body)
    return request(b"POST /v1/credits:batch HTTP/1.1", length, *headers, body=body)


def bulk_answer(*lines: bytes) -> Expected:
    return Expected(200, b"".join(lines), headers=LINES)


REQUESTS = {
    "add": add("u"),
    "bulk": bulk(["u"]),
    "balance": get_balance("u"),
    "history": history("u"),
    "chunked add": request(
        b"POST /users/u/add HTTP/1.1",
        b"Transfer-Encoding: chunked",
        body=b'c\r\n{"amount":1}\r\n0\r\n\r\n',
    ),
}


@pytest.mark.parametrize("what", REQUESTS)
def test_a_request_without_a_key_is_refused_and_its_connection_closed(
    keyed_servers_agree: Agreement, what: str
) -> None:
    keyed_servers_agree.on(REQUESTS[what], gives=[NO_KEY], closed=True)


def test_what_is_pipelined_behind_a_request_without_a_key_is_not_looked_at(
    keyed_servers_agree: Agreement, api_keys: Keys, user: str
) -> None:
    behind = add(user, bearer(api_keys["write"]))
    keyed_servers_agree.on(add(user) + behind, gives=[NO_KEY], closed=True)
    keyed_servers_agree.on(
        get_balance(user, bearer(api_keys["read"])), gives=[balance(user, "0.000000")]
    )


def test_a_request_without_a_key_is_refused_before_its_body_has_come(
    keyed_servers_agree: Agreement,
) -> None:
    begun = request(b"POST /v1/credits:batch HTTP/1.1", b"Content-Length: 5000000", body=b"[")
    keyed_servers_agree.on(begun, gives=[NO_KEY], closed=True)


@pytest.mark.parametrize(
    "value",
    [
        b"Bearer",
        b"Bearer ",
        b"Bearer bb_000000000000_" + b"A" * 43,
        b"Bearer bb_" + b"A" * 15_000,
        b"Bearer \xff\xfe",
        b"Bearer a, Bearer b",
    ],
)
def test_a_key_that_is_none_is_refused(keyed_servers_agree: Agreement, value: bytes) -> None:
    answer = UNKNOWN_KEY
    if value.strip() == b"Bearer":
        answer = NO_BEARER
    keyed_servers_agree.on(
        get_balance("u", b"Authorization: " + value), gives=[answer], closed=True
    )


def test_a_key_of_which_one_character_is_wrong_is_refused(
    keyed_servers_agree: Agreement, api_keys: Keys
) -> None:
    key = api_keys["read"]
    wrong = key[:-2] + ("A" if key[-2] != "A" else "B") + key[-1]
    keyed_servers_agree.on(get_balance("u", bearer(wrong)), gives=[UNKNOWN_KEY], closed=True)
    other_id = "bb_" + "0" * 12 + key[15:]
    keyed_servers_agree.on(get_balance("u", bearer(other_id)), gives=[UNKNOWN_KEY], closed=True)


def test_a_key_is_not_taken_in_another_scheme(
    keyed_servers_agree: Agreement, api_keys: Keys
) -> None:
    answer = NO_BEARER
    basic = b"Authorization: Basic " + base64.b64encode(b"u:" + api_keys["read"].encode())
    keyed_servers_agree.on(get_balance("u", basic), gives=[answer], closed=True)


def test_two_keys_are_none(keyed_servers_agree: Agreement, api_keys: Keys) -> None:
    twice = [bearer(api_keys["read"]), bearer(api_keys["read"])]
    keyed_servers_agree.on(get_balance("u", *twice), gives=[UNKNOWN_KEY], closed=True)


@pytest.mark.parametrize("scheme", [b"bearer", b"BEARER", b"Bearer "])
def test_the_scheme_may_be_written_in_any_case(
    keyed_servers_agree: Agreement, api_keys: Keys, scheme: bytes
) -> None:
    value = b"authorization: " + scheme + b" " + api_keys["read"].encode()
    keyed_servers_agree.on(get_balance("u", value), gives=[balance("u", "0.000000")])


@pytest.mark.parametrize(("key", "may"), [("read", False), ("write", True), ("admin", False)])
def test_only_write_credits(
    keyed_servers_agree: Agreement, api_keys: Keys, user: str, key: str, may: bool
) -> None:
    header = bearer(api_keys[key])
    one = added(user) if may else lacks("write")
    many = bulk_answer(CREATED) if may else lacks("write")
    keyed_servers_agree.on(add(user, header), gives=[one])
    keyed_servers_agree.on(bulk([user], header), gives=[many])
    keyed_servers_agree.on(
        get_balance(user, bearer(api_keys["read"])),
        gives=[balance(user, "2.000000" if may else "0.000000")],
    )


@pytest.mark.parametrize(("key", "may"), [("read", True), ("write", False), ("admin", False)])
def test_only_read_reads(
    keyed_servers_agree: Agreement, api_keys: Keys, user: str, key: str, may: bool
) -> None:
    header = bearer(api_keys[key])
    sum_ = balance(user, "0.000000") if may else lacks("read")
    page = Expected(200, b"{}", headers={"content-type": "application/json"})
    keyed_servers_agree.on(get_balance(user, header), gives=[sum_])
    keyed_servers_agree.on(history(user, header), gives=[page if may else lacks("read")])


def test_a_key_with_a_prefix_is_good_for_users_whose_id_begins_so_and_no_other(
    keyed_servers_agree: Agreement, api_keys: Keys, user: str
) -> None:
    shop = bearer(api_keys["shop"])
    keyed_servers_agree.on(add(f"shop-{user}", shop), gives=[added(f"shop-{user}")])
    keyed_servers_agree.on(
        get_balance(f"shop-{user}", shop), gives=[balance(f"shop-{user}", "1.000000")]
    )
    for other in (user, "shop", f"Shop-{user}", f"x-shop-{user}"):
        keyed_servers_agree.on(add(other, shop), gives=[OTHER_USERS])
        keyed_servers_agree.on(get_balance(other, shop), gives=[OTHER_USERS])
        keyed_servers_agree.on(history(other, shop), gives=[OTHER_USERS])


def test_a_prefix_is_looked_for_in_the_decoded_user(
    keyed_servers_agree: Agreement, api_keys: Keys, user: str
) -> None:
    shop = bearer(api_keys["shop"])
    encoded = f"%73hop%2D{user}"
    keyed_servers_agree.on(add(encoded, shop), gives=[added(f"shop-{user}")])
    keyed_servers_agree.on(add(f"%2E%2Fshop-{user}", shop), gives=[OTHER_USERS])


def test_of_a_bulk_each_credit_of_another_user_is_refused_alone(
    keyed_servers_agree: Agreement, api_keys: Keys, user: str
) -> None:
    refused = (
        b'{"result":"refused","status":403,"reason":"this API key is not for users of that name",'
        b'"type":"/docs#forbidden"}\n'
    )
    keyed_servers_agree.on(
        bulk([f"shop-{user}", user, f"shop-{user}"], bearer(api_keys["shop"])),
        gives=[bulk_answer(CREATED, refused, CREATED)],
    )
    reader = bearer(api_keys["read"])
    keyed_servers_agree.on(get_balance(user, reader), gives=[balance(user, "0.000000")])
    keyed_servers_agree.on(
        get_balance(f"shop-{user}", reader), gives=[balance(f"shop-{user}", "2.000000")]
    )


def test_a_refused_request_uses_up_no_idempotency_key(
    keyed_servers_agree: Agreement, api_keys: Keys, user: str
) -> None:
    named = b"Idempotency-Key: once"
    keyed_servers_agree.on(add(user, named), gives=[NO_KEY], closed=True)
    keyed_servers_agree.on(add(user, named, bearer(api_keys["read"])), gives=[lacks("write")])
    keyed_servers_agree.on(add(user, named, bearer(api_keys["both"])), gives=[added(user)])


def test_who_has_not_the_scope_learns_nothing_about_the_rest_of_the_request(
    keyed_servers_agree: Agreement, api_keys: Keys
) -> None:
    nonsense = add("%zz", bearer(api_keys["read"]), body=b"nonsense")
    keyed_servers_agree.on(nonsense, gives=[lacks("write")])


@pytest.mark.parametrize("path", [b"/healthz", b"/readyz"])
def test_health_needs_no_key(keyed_servers_agree: Agreement, path: bytes) -> None:
    text = "alive" if path == b"/healthz" else "ready"
    keyed_servers_agree.on(request(b"GET %s HTTP/1.1" % path), gives=[message(200, text)])


def test_what_there_is_not_needs_no_key(keyed_servers_agree: Agreement) -> None:
    keyed_servers_agree.on(request(b"GET /nothing HTTP/1.1"), gives=[NOTHING_THERE])
    keyed_servers_agree.on(request(b"GET /users/u/add HTTP/1.1"), gives=[not_allowed("POST")])


def test_several_keys_may_take_turns_on_one_connection(
    keyed_servers_agree: Agreement, api_keys: Keys, user: str
) -> None:
    keyed_servers_agree.on(
        add(user, bearer(api_keys["write"]))
        + get_balance(user, bearer(api_keys["write"]))
        + get_balance(user, bearer(api_keys["read"])),
        gives=[added(user), lacks("read"), balance(user, "1.000000")],
    )


def test_a_key_means_nothing_where_there_are_none(
    servers_agree: Agreement, api_keys: Keys, user: str
) -> None:
    servers_agree.on(add(user, bearer("wrong")), gives=[added(user)])
    servers_agree.on(
        get_balance(user, bearer(api_keys["write"])), gives=[balance(user, "1.000000")]
    )


def test_over_http2_a_stranger_is_refused_and_the_connection_stays(
    keyed_servers: Mapping[str, ServerProcess], api_keys: Keys
) -> None:
    for server in keyed_servers.values():
        with httpx.Client(base_url=server.url, http1=False, http2=True) as client:
            path, header = "/users/u/balance", {"Authorization": f"Bearer {api_keys['read']}"}
            refused = client.get(path)
            assert (refused.status_code, refused.http_version) == (401, "HTTP/2")
            assert refused.headers["www-authenticate"] == "Bearer"
            assert "connection" not in refused.headers
            assert client.post("/v1/credits:batch", content=b"[]").status_code == 401
            assert client.get(path, headers=header).status_code == 200
