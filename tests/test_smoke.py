import urllib.request

from bench.server_process import ServerProcess


def test_server_starts_and_is_ready(server: ServerProcess) -> None:
    with urllib.request.urlopen(server.url + "/readyz") as answer:
        assert answer.status == 200
    assert server.stop() == 0
