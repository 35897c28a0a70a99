"""Where a server may be reached, and by whom."""

import contextlib
import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import trustme
from bitburst_command import bitburst, make_key
from raw_http import send

from bench.server_process import ServerProcess

EVERYWHERE = ("--host", "0.0.0.0")
SERVERS = ["fast-lane", "hypercorn"]
WARNING = "there are no API keys: anyone who reaches the server may ask"


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_without_keys_a_server_that_could_be_reached_from_elsewhere_does_not_start(
    tmp_path: Path, host: str
) -> None:
    finished = bitburst("serve", "--host", host, "--port", "0", "--data-dir", tmp_path / "data")
    assert finished.status == 1
    assert "without API keys the server listens on loopback only" in finished.complaint
    assert "--allow-anonymous" in finished.complaint
    assert "Traceback" not in finished.complaint


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost", "::1"])
def test_without_keys_a_server_on_loopback_starts_and_says_so(tmp_path: Path, host: str) -> None:
    with ServerProcess(tmp_path / "data", "--host", host) as server:
        assert server.wait_for_event(WARNING)["level"] == "warning"
        assert send(server.url, b"GET", b"/users/u/balance").status == 200


def test_without_keys_a_flag_lets_it_listen_anywhere(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data", *EVERYWHERE, "--allow-anonymous") as server:
        server.wait_for_event(WARNING)


@pytest.mark.parametrize("name", ["BITBURST_ALLOW_ANONYMOUS=true", "BITBURST_ALLOW_ANONYMOUS=1"])
def test_the_environment_may_say_so_too(tmp_path: Path, name: str) -> None:
    with ServerProcess(tmp_path / "data", *EVERYWHERE, wrapper=("env", name)) as server:
        server.wait_for_event(WARNING)


def test_with_keys_a_server_listens_anywhere(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    make_key(path, "--scope", "read")
    with ServerProcess(tmp_path / "data", *EVERYWHERE, "--keys-file", str(path)) as server:
        assert not [event for event in server.events() if event["event"] == WARNING]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module", params=SERVERS)
def mutual(
    request: pytest.FixtureRequest,
    authority: trustme.CA,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("mutual")
    server_certificate = authority.issue_cert("127.0.0.1")
    server_certificate.cert_chain_pems[0].write_to_path(folder / "certificate.pem")
    server_certificate.private_key_pem.write_to_path(folder / "key.pem")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    flags = ["--tls-certificate", str(folder / "certificate.pem")]
    flags += ["--tls-key", str(folder / "key.pem"), "--tls-client-ca", str(folder / "ca.pem")]
    with ServerProcess(folder / "data", "--server", request.param, *flags) as running:
        yield running.url


def balance_status(url: str, authority: trustme.CA, client: trustme.LeafCert | None) -> int | None:
    """None where the server did not talk."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    if client is not None:
        client.configure_cert(context)
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(f"{url}/users/u/balance", verify=context).status_code
    return None


class TestClientCertificates:
    def test_who_has_one_of_the_authority_is_served(
        self, mutual: str, authority: trustme.CA
    ) -> None:
        client = authority.issue_cert("caller@example.org")
        assert balance_status(mutual, authority, client) == 200

    def test_who_has_none_is_not(self, mutual: str, authority: trustme.CA) -> None:
        assert balance_status(mutual, authority, None) is None

    def test_who_has_one_of_another_authority_is_not(
        self, mutual: str, authority: trustme.CA
    ) -> None:
        stranger = trustme.CA().issue_cert("caller@example.org")
        assert balance_status(mutual, authority, stranger) is None

    def test_strangers_disturb_nobody(self, mutual: str, authority: trustme.CA) -> None:
        for _ in range(3):
            balance_status(mutual, authority, None)
        client = authority.issue_cert("caller@example.org")
        assert balance_status(mutual, authority, client) == 200

    def test_an_authority_without_a_certificate_of_the_server_is_refused(
        self, authority: trustme.CA, tmp_path: Path
    ) -> None:
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        arguments = ["serve", "--data-dir", tmp_path / "data", "--port", "0"]
        finished = bitburst(*arguments, "--tls-client-ca", tmp_path / "ca.pem")
        assert finished.status == 1
        assert "--tls-client-ca needs --tls-certificate" in finished.complaint

    def test_a_file_that_holds_no_authority_is_refused(
        self, authority: trustme.CA, tmp_path: Path
    ) -> None:
        own = authority.issue_cert("127.0.0.1")
        own.cert_chain_pems[0].write_to_path(tmp_path / "certificate.pem")
        own.private_key_pem.write_to_path(tmp_path / "key.pem")
        (tmp_path / "ca.pem").write_text("nonsense")
        flags = ["--tls-certificate", tmp_path / "certificate.pem"]
        flags += ["--tls-key", tmp_path / "key.pem", "--tls-client-ca", tmp_path / "ca.pem"]
        finished = bitburst("serve", "--data-dir", tmp_path / "data", "--port", "0", *flags)
        assert finished.status == 1
        assert "as authorities" in finished.complaint
