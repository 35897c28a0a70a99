"""Who is let in: the API key of a request, what it is good for, and how often it may ask.

Every request of either server passes here, before its body is looked at. While there are no keys
and no rates, it is not even asked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from api.api_keys import ADMIN, READ, SCOPES, ApiKey, KeyRing
from api.problems import Forbidden, NotAdmitted, Throttled, Unauthenticated
from api.token_bucket import Rate, TokenBucket, UserBuckets, Wait
from api.wire import decode_user
from ledger_actors.credit import CreditRequest
from ledger_actors.identity import UserId

RECOGNISED_MAX: Final = 16_384
"""Authorization headers whose key is remembered."""
KEY: Final = "key"
USER: Final = "user"
"""The names of the two rates, for callers."""
ANYONE: Final = "anyone"
"""Stands for the id of a key where there is none."""
STRANGER: Final = "no key"
FORBIDDEN: Final = "not for this key"
KEY_RATE: Final = "rate of the key"
USER_RATE: Final = "rate of the user"
REASONS: Final = (STRANGER, FORBIDDEN, KEY_RATE, USER_RATE)
OTHER_USERS: Final = "this API key is not for users of that name"
_SCHEME: Final = b"bearer "


@dataclass(frozen=True, slots=True)
class Rates:
    """What the settings say; None where there is no limit."""

    key: Rate | None = None
    """Of each API key that has no rate of its own."""
    user: Rate | None = None
    """Of each user, whoever asks."""


class Caller:
    """An API key that is good now, and what it may do."""

    __slots__ = ("bucket", "id", "prefix", "scopes")

    def __init__(self, key: ApiKey, bucket: TokenBucket | None) -> None:
        self.id = key.id
        self.scopes = key.scope_bits
        self.prefix = key.user_prefix
        self.bucket = bucket


class Admission:
    """Lets requests in, or raises `NotAdmitted`.

    Attributes:
        active: there is something to check. Who does not ask while it is false saves a call.
        now: seconds of the clock by which buckets fill; the servers move it on.
        refused: how many requests, or credits of a bulk, were not admitted, by `REASONS`.
    """

    def __init__(self) -> None:
        self.active = False
        self.now = 0.0
        self.refused = dict.fromkeys(REASONS, 0)
        self._refused_lately: dict[tuple[str, str], int] = {}
        self._ring: KeyRing | None = None
        self._callers: dict[str, Caller] = {}
        self._recognised: dict[bytes, Caller] = {}
        self._rates = Rates()
        self._users: UserBuckets | None = None

    @property
    def needs_keys(self) -> bool:
        return self._ring is not None

    def adopt(self, keys: Sequence[ApiKey] | None, rates: Rates) -> None:
        """Takes these keys and rates from now on, also on connections that are open.

        A bucket whose rate is as before stays as full as it is.

        Args:
            keys: those that are good now; None where there is no need for any.
        """
        if rates.user != self._rates.user:
            self._users = None if rates.user is None else UserBuckets(rates.user)
        self._rates = rates
        self._recognised = {}
        self._callers = {key.id: self._caller(key) for key in keys or ()}
        self._ring = None if keys is None else KeyRing(keys)
        self.active = self._ring is not None or self._users is not None

    def caller(self, authorization: bytes | None, scope: int) -> Caller | None:
        """Who asks; None where nobody needs a key.

        Args:
            authorization: the value of that header, None without one.
            scope: one of these bits the key must have.

        Raises:
            Unauthenticated: there is no key, or it is unknown.
            Forbidden: it has none of the scopes.
        """
        if self._ring is None:
            return None
        # The header is looked up by all its bytes. Who does not know a key cannot come close to
        # its hash, which is salted, so the time that it takes tells nothing.
        caller = self._recognised.get(authorization) if authorization else None
        if caller is None:
            caller = self._recognise(self._ring, authorization)
        if not caller.scopes & scope:
            raise self._counted(FORBIDDEN, caller, Forbidden(_needs(scope)))
        return caller

    def admit(self, authorization: bytes | None, scope: int, segment: bytes) -> UserId:
        """Takes the token of one request that is about one user, and says who that is.

        Args:
            segment: of the path, as it was sent.

        Raises:
            Unauthenticated, Forbidden: as `caller` and `check_user`.
            Throttled: there is no token; none was taken.
            BadRequest, InvalidUser: the segment names nobody.
        """
        if not self.active:
            return decode_user(segment)
        caller: Caller | None = None
        if self._ring is not None:
            caller = self._recognised.get(authorization) if authorization else None
            if caller is None or not caller.scopes & scope:
                caller = self.caller(authorization, scope)
        user = decode_user(segment)
        now = self.now
        bucket: TokenBucket | None = None
        if caller is not None:
            if caller.prefix is not None:
                self.check_user(caller, user)
            bucket = caller.bucket
            if bucket is not None:
                if bucket.left and bucket.moment == now:
                    bucket.left -= 1
                else:
                    wait = bucket.take(now)
                    if wait is not None:
                        raise self._throttled(KEY, wait, caller)
        users = self._users
        if users is not None:
            if users.spare and users.moment == now:
                users.spare -= 1
                users.noted.append(user)
            else:
                wait = users.take(user, now)
                if wait is not None:
                    if bucket is not None:
                        bucket.give_back(1)
                    raise self._throttled(USER, wait, caller)
        return user

    def take_many(
        self, caller: Caller | None, tokens: int, requests: Sequence[CreditRequest]
    ) -> Mapping[int, NotAdmitted]:
        """Takes so many tokens of the key's, and one of each credit's user.

        Returns: why credits are not admitted, by their places.

        Raises:
            Throttled: the key has not so many; none was taken.
        """
        if caller is not None and caller.bucket is not None and tokens:
            wait = caller.bucket.take(self.now, tokens)
            if wait is not None:
                raise self._throttled(KEY, wait, caller)
        refused: dict[int, NotAdmitted] = {}
        if caller is not None and caller.prefix is not None:
            for place, request in enumerate(requests):
                if not request.user.startswith(caller.prefix):
                    refused[place] = self._counted(FORBIDDEN, caller, Forbidden(OTHER_USERS))
        if self._users is not None:
            admitted: Sequence[int] = range(len(requests))
            users = [request.user for request in requests]
            if refused:
                admitted = [place for place in admitted if place not in refused]
                users = [users[place] for place in admitted]
            for at, wait in self._users.take_each(users, self.now).items():
                refused[admitted[at]] = self._throttled(USER, wait, caller)
        return refused

    def check_waiting(self, caller: Caller | None) -> None:
        """Refuses what would find no token, before any effort is made for it.

        Raises:
            Throttled: the key has no token.
        """
        if caller is None or caller.bucket is None:
            return
        wait = caller.bucket.take(self.now)
        if wait is not None:
            raise self._throttled(KEY, wait, caller)
        caller.bucket.give_back(1)

    def check_user(self, caller: Caller, user: UserId) -> None:
        """
        Raises:
            Forbidden: the key is not good for the user.
        """
        if caller.prefix is not None and not user.startswith(caller.prefix):
            raise self._counted(FORBIDDEN, caller, Forbidden(OTHER_USERS))

    def check_operator(self, authorization: bytes | None) -> None:
        """Lets in who may see how the server does: admin, or read without a prefix of users.

        Raises: as `caller`.
        """
        caller = self.caller(authorization, READ | ADMIN)
        if caller is not None and not caller.scopes & ADMIN and caller.prefix is not None:
            raise self._counted(FORBIDDEN, caller, Forbidden(_needs(ADMIN)))

    def drain_refusals(self) -> Sequence[tuple[tuple[str, str], int]]:
        """How many were not admitted since the last call, by reason and id of the key."""
        lately, self._refused_lately = self._refused_lately, {}
        return list(lately.items())

    def _recognise(self, ring: KeyRing, authorization: bytes | None) -> Caller:
        try:
            if authorization is None:
                raise Unauthenticated("send an API key: Authorization: Bearer KEY", sent=False)
            value = authorization.strip(b" ")
            if value[: len(_SCHEME)].lower() != _SCHEME:
                raise Unauthenticated("authorization must be Bearer, and an API key", sent=True)
            caller = self._callers[ring.find(value[len(_SCHEME) :].lstrip(b" ")).id]
        except Unauthenticated as error:
            raise self._counted(STRANGER, None, error) from None
        if len(self._recognised) >= RECOGNISED_MAX:
            self._recognised = {}
        if authorization is not None:
            self._recognised[authorization] = caller
        return caller

    def _caller(self, key: ApiKey) -> Caller:
        rate = key.own_rate or self._rates.key
        before = self._callers.get(key.id)
        if before is not None and before.bucket is not None and before.bucket.rate == rate:
            return Caller(key, before.bucket)
        return Caller(key, None if rate is None else TokenBucket(rate))

    def _throttled(self, policy: str, wait: Wait, caller: Caller | None) -> NotAdmitted:
        reason = KEY_RATE if policy == KEY else USER_RATE
        return self._counted(reason, caller, Throttled(policy, wait))

    def _counted(self, reason: str, caller: Caller | None, error: NotAdmitted) -> NotAdmitted:
        self.refused[reason] += 1
        lately = (reason, ANYONE if caller is None else caller.id)
        self._refused_lately[lately] = self._refused_lately.get(lately, 0) + 1
        return error


def _needs(scope: int) -> str:
    names = [name for name, bit in SCOPES.items() if bit & scope]
    return f"this API key has not the scope {' or '.join(names)}"
