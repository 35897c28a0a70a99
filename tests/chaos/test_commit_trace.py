"""The trace reader must be able to fail: hand-made traces, right and wrong."""

import pytest
from commit_trace import too_early

LOG = "/data/log/data.mdb"
BODY = "Transaction of $0.000001 added for user u"
ANSWERS = {BODY: "key-1"}

WRITTEN = f'11 2.0 pwrite64(13<{LOG}>, "..key-1..", 4096, 8192) = 4096'
OTHER_WRITTEN = f'11 2.0 pwrite64(13<{LOG}>, "..key-2..", 4096, 8192) = 4096'
SYNCED = f"11 3.0 fdatasync(13<{LOG}>) = 0"
META = f'11 4.0 pwrite64(13<{LOG}>, "..", 120, 4128) = 120'
HEAD = r'10 5.0 sendto(17<socket:[9]>, "HTTP/1.1 200 \r\n\r\n", 20, 0, NULL, 0) = 20'
ANSWERED = f'10 6.0 sendto(17<socket:[9]>, "{BODY}", 55, 0, NULL, 0) = 55'

RIGHT = [WRITTEN, SYNCED, META, HEAD, ANSWERED]


def test_answer_after_the_commit_passes() -> None:
    assert too_early(RIGHT, ANSWERS) == []


def test_calls_that_other_threads_interrupt_are_put_together() -> None:
    trace = [
        WRITTEN,
        f"11 3.0 fdatasync(13<{LOG}> <unfinished ...>",
        '10 3.1 recvfrom(17<socket:[9]>, "", 65536, 0, NULL, NULL) = 0',
        "11 3.2 <... fdatasync resumed>) = 0",
        META,
        HEAD,
        ANSWERED,
    ]
    assert too_early(trace, ANSWERS) == []


@pytest.mark.parametrize(
    "trace",
    [
        pytest.param([HEAD, ANSWERED, WRITTEN, SYNCED, META], id="before everything"),
        pytest.param([WRITTEN, HEAD, ANSWERED, SYNCED, META], id="before the fdatasync"),
        pytest.param([WRITTEN, SYNCED, HEAD, ANSWERED, META], id="before the meta page"),
        pytest.param([WRITTEN, SYNCED, HEAD, META, ANSWERED], id="its head too early"),
        pytest.param([WRITTEN, META, HEAD, ANSWERED], id="no fdatasync"),
        pytest.param([WRITTEN, SYNCED, HEAD, ANSWERED], id="no meta page"),
        pytest.param([SYNCED, WRITTEN, META, HEAD, ANSWERED], id="synced before written"),
        pytest.param([WRITTEN, META, SYNCED, HEAD, ANSWERED], id="meta before the sync"),
        pytest.param([OTHER_WRITTEN, SYNCED, META, HEAD, ANSWERED], id="another's commit"),
        pytest.param(
            [WRITTEN, SYNCED.replace("= 0", "= -1 EIO"), META, HEAD, ANSWERED],
            id="failed fdatasync",
        ),
        pytest.param(
            [
                WRITTEN,
                f"11 3.0 fdatasync(13<{LOG}> <unfinished ...>",
                HEAD,
                ANSWERED,
                "11 3.2 <... fdatasync resumed>) = 0",
                META,
            ],
            id="while the fdatasync runs",
        ),
        pytest.param(RIGHT[:-1], id="no answer at all"),
    ],
)
def test_answer_that_is_not_shown_to_be_durable_is_found(trace: list[str]) -> None:
    (found,) = too_early(trace, ANSWERS)
    assert "key-1" in found
