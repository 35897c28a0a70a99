from persistence.courtesy import WINDOW_S, Courtesy

SHARE = 0.1


class Core:
    """A core that a process shares: what it uses, and what passes."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.used_s = 0.0
        self.yields = 0
        self.share = SHARE
        self.courtesy = Courtesy(
            lambda: self.share, self.give_way, lambda: self.now_s, lambda: self.used_s
        )

    def give_way(self) -> None:
        self.yields += 1

    def work(self, used_s: float, waited_s: float = 0.0) -> None:
        self.used_s += used_s
        self.now_s += used_s + waited_s


def test_who_has_his_share_gives_way_after_each_step() -> None:
    core = Core()
    for _ in range(100):
        core.work(used_s=0.001, waited_s=0.005)
        core.courtesy()
    assert core.yields == 100


def test_who_is_starved_gives_way_no_more_until_he_has_his_share_again() -> None:
    core = Core()
    core.work(used_s=0.001, waited_s=WINDOW_S / 2)
    core.courtesy()
    assert core.yields == 0
    core.work(used_s=SHARE * WINDOW_S / 2)
    core.courtesy()
    assert core.yields == 1


def test_nobody_makes_up_for_a_pause() -> None:
    core = Core()
    core.work(used_s=0.001, waited_s=100.0)
    core.courtesy()
    assert core.yields == 1


def test_nobody_waits_for_what_he_took_while_nobody_wanted_it() -> None:
    core = Core()
    core.work(used_s=WINDOW_S)
    core.courtesy()
    core.work(used_s=0.001, waited_s=WINDOW_S / 2)
    core.courtesy()
    assert core.yields == 1


def test_who_is_due_a_larger_share_gives_way_later_from_the_next_window_on() -> None:
    core = Core()
    core.share = 0.5
    core.work(used_s=0.01, waited_s=0.01)
    core.courtesy()
    assert core.yields == 1
    core.work(used_s=0.0, waited_s=WINDOW_S)
    core.courtesy()
    core.yields = 0
    core.work(used_s=0.02, waited_s=0.03)
    core.courtesy()
    assert core.yields == 0
    core.work(used_s=0.02)
    core.courtesy()
    assert core.yields == 1
