import os
from collections.abc import Iterator

import pytest

from persistence.orders import Orders


class Pipe:
    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()
        self.orders = Orders(self.reading)

    def tell(self, text: str) -> None:
        os.write(self.writing, text.encode())

    def end(self) -> None:
        os.close(self.writing)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    os.close(pipe.reading)


def test_a_fold_is_ordered_with_its_share(pipe: Pipe) -> None:
    pipe.tell("fold 0.125\n")
    assert pipe.orders.next_fold()
    assert pipe.orders.share() == 0.125
    pipe.end()


def test_another_share_shows_while_it_folds_and_is_no_order(pipe: Pipe) -> None:
    pipe.tell("fold 0.02\n")
    assert pipe.orders.next_fold()
    pipe.tell("share 0.04\nsha")
    assert pipe.orders.share() == 0.04
    assert pipe.orders.share() == 0.04
    pipe.tell("re 0.08\n")
    assert pipe.orders.share() == 0.08
    pipe.end()
    assert not pipe.orders.next_fold()


def test_every_order_is_one_fold(pipe: Pipe) -> None:
    pipe.tell("fold 1\nshare 0.5\nfold 0.25\n")
    pipe.end()
    assert [pipe.orders.next_fold() for _ in range(3)] == [True, True, False]


def test_the_share_stays_when_the_server_has_ended(pipe: Pipe) -> None:
    pipe.tell("fold 0.25\n")
    pipe.end()
    assert pipe.orders.next_fold()
    assert pipe.orders.share() == 0.25
