import pytest

from ledger_actors.errors import InvalidIdempotencyKey, InvalidUser
from ledger_actors.identity import idempotency_key, shard_of, shards_of, user_id


@pytest.mark.parametrize("text", ["a", "ä" * 64, "a/b", "\0", "x" * 128])
def test_user_ids_of_1_to_128_bytes_are_taken(text: str) -> None:
    assert user_id(text) == text


@pytest.mark.parametrize("text", ["", "x" * 129, "ä" * 65, "\ud800"])
def test_other_user_ids_are_refused(text: str) -> None:
    with pytest.raises(InvalidUser):
        user_id(text)


@pytest.mark.parametrize("text", ["a", "~", " ", "k" * 255])
def test_keys_of_1_to_255_printable_characters_are_taken(text: str) -> None:
    assert idempotency_key(text) == text


@pytest.mark.parametrize("text", ["", "k" * 256, "ä", "\t", "\n", "\x7f"])
def test_other_keys_are_refused(text: str) -> None:
    with pytest.raises(InvalidIdempotencyKey):
        idempotency_key(text)


def test_the_shard_of_a_user_never_changes() -> None:
    # Stores in the field were written with these: another answer loses their users.
    users = ["gopal", "unknown", "a/b", "ünïcode"]
    assert [shard_of(user_id(user), 64) for user in users] == [16, 7, 28, 42]
    assert shards_of(map(user_id, users), 64) == [16, 7, 28, 42]
