from collections import Counter
from dataclasses import replace

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from bench.feed import Feed
from bench.workload import AddIndex, Repeat, Workload, WorkloadParameters, plan_workload

PARAMETERS = WorkloadParameters(
    users=50, transactions_per_user=20, duplicate_share=0.3, seed=7, run_id="r1"
)


def test_the_same_parameters_give_the_same_plan() -> None:
    assert plan_workload(PARAMETERS) == plan_workload(PARAMETERS)


def test_another_seed_gives_another_plan() -> None:
    other = plan_workload(replace(PARAMETERS, seed=8))
    assert other.amounts != plan_workload(PARAMETERS).amounts
    assert other.key_of(AddIndex(3)) != plan_workload(PARAMETERS).key_of(AddIndex(3))


def test_another_run_id_gives_the_same_amounts_to_other_users() -> None:
    one, two = plan_workload(PARAMETERS), plan_workload(replace(PARAMETERS, run_id="r2"))
    assert one.amounts == two.amounts
    users = range(PARAMETERS.users)
    assert not {one.user_name(user) for user in users} & {two.user_name(user) for user in users}


def test_amounts_are_positive_some_whole_some_with_six_decimals() -> None:
    amounts = plan_workload(PARAMETERS).amounts
    assert min(amounts) > 0
    assert any(amount % 1_000_000 == 0 for amount in amounts)
    assert any(amount % 10 for amount in amounts)


def test_keys_of_one_user_differ() -> None:
    workload = plan_workload(PARAMETERS)
    adds = list(workload.adds_of(49))
    assert len({workload.key_of(add) for add in adds}) == 20
    assert {workload.user_of(add) for add in adds} == {workload.user_name(49)}


def test_every_add_is_in_the_order_once_and_the_late_ones_follow() -> None:
    workload = plan_workload(PARAMETERS)
    order = list(workload.order)
    assert sorted(order[: workload.adds]) == list(range(workload.adds))
    late = [add for add in range(workload.adds) if workload.repeats[add] == Repeat.LATE]
    assert sorted(order[workload.adds :]) == late


@pytest.mark.parametrize(("share", "repeated"), [(0.0, 0), (1.0, 1000)])
def test_the_share_decides_how_many_are_sent_twice(share: float, repeated: int) -> None:
    workload = plan_workload(replace(PARAMETERS, duplicate_share=share))
    assert workload.sendings - workload.adds == repeated


async def sent_by(workload: Workload, takers: int) -> Counter[int]:
    feed = Feed(workload, takers)
    sent: Counter[int] = Counter()

    async def take_all() -> None:
        while (add := await feed.take()) is not None:
            sent[add] += feed.sendings_in_a_row(add)
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        for _ in range(takers):
            nursery.start_soon(take_all)
    return sent


@pytest.mark.parametrize("takers", [1, 2, 3, 100, 2000])
async def test_every_repeated_add_is_sent_exactly_twice(takers: int) -> None:
    workload = plan_workload(PARAMETERS)
    expected = {add: 1 + (workload.repeats[add] != Repeat.NEVER) for add in range(workload.adds)}
    assert await sent_by(workload, takers) == expected


async def test_a_twin_waits_for_a_second_taker() -> None:
    workload = plan_workload(replace(PARAMETERS, users=1, transactions_per_user=1, seed=0))
    twins = replace(workload, repeats=bytes([Repeat.AT_ONCE]))
    feed = Feed(twins, takers=2)
    taken: list[int | None] = []

    async def take() -> None:
        taken.append(await feed.take())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take)
        await wait_all_tasks_blocked()
        assert taken == []
        nursery.start_soon(take)
    assert taken == [0, 0]


async def test_a_stopped_feed_lets_a_waiting_twin_go() -> None:
    workload = plan_workload(PARAMETERS)
    twins = replace(workload, repeats=bytes([Repeat.AT_ONCE]) * workload.adds)
    feed = Feed(twins, takers=2)
    taken: list[int | None] = []

    async def take() -> None:
        taken.append(await feed.take())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take)
        await wait_all_tasks_blocked()
        feed.stop()
        nursery.start_soon(take)
    assert taken[0] == taken[1] == twins.order[0]
    assert await feed.take() is None
