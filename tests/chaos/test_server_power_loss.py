"""A server whose machine loses power right after an answer.

Power cannot be cut here. What it leaves can be made: the answer's commit is synced but for its meta
page, so the meta pages are put back as they were before it. `tests/persistence/test_power_loss.py`
does so after every call, page by page.
"""

from pathlib import Path

from audit import Account, Credit
from bitburst_command import bitburst
from chaos_client import Connection, read_accounts
from store_checks import verified

from bench.server_process import ServerProcess

META_BYTES = 2 * 4096
CREDITS = [Credit("ann", amount, f"key-{amount}") for amount in range(1, 6)]


def meta_pages(data_dir: Path) -> bytes:
    with (data_dir / "log" / "data.mdb").open("rb") as file:
        return file.read(META_BYTES)


async def test_what_was_answered_last_is_there(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "data")
    with server:
        async with Connection(server.port) as connection:
            for credit in CREDITS:
                before = meta_pages(server.data_dir)
                assert (await connection.add(credit)).status == 200
        server.kill()
    with (server.data_dir / "log" / "data.mdb").open("r+b") as file:
        assert file.read(META_BYTES) != before
        file.seek(0)
        file.write(before)

    looked = bitburst("verify", "--data-dir", server.data_dir)
    assert looked.status == 1
    assert "lost power while it was served" in looked.complaint

    with server:
        recovered = server.wait_for_event("recovered")
        assert (recovered["rolled_forward_records"], recovered["replayed_entries"]) == (1, 5)
        assert await read_accounts(server.port, ["ann"]) == {"ann": Account(15, [[5, 4, 3, 2, 1]])}
        async with Connection(server.port) as connection:
            assert (await connection.add(CREDITS[-1])).replayed
        assert server.stop() == 0
    assert verified(server.data_dir)
