from api.request_ids import Policy, RequestIds


def test_ids_that_are_made_are_all_different_and_say_whose_they_are() -> None:
    ids = RequestIds(Policy.ALWAYS, "prefix")
    made = [ids.of(b"") for _ in range(20_000)]
    assert len(set(made)) == len(made)
    assert all(one.startswith(b"prefix-") for one in made)
    assert made[:2] == [b"prefix-0000", b"prefix-0001"]
