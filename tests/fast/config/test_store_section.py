"""``store`` of cluster.yaml, and addresses of key-value servers: what is taken, and what is refused with words."""

from __future__ import annotations

from pathlib import Path

import pytest

from fast.config.workspace import Workspace
from underway_agent.kv.address import Access, AddressError, is_loopback, parse, read_secret
from underway_agent.kv.etcd import version_warning
from underway_agent.kv.tls import tls_context


@pytest.mark.parametrize(
    ("url", "servers", "prefix"),
    [
        ("consul://c1", ("https://c1:8501",), ""),
        ("consul+https://c1:1,c2", ("https://c1:1", "https://c2:8501"), ""),
        ("consul+http://127.0.0.1", ("http://127.0.0.1:8500",), ""),
        ("etcd://e1.example.net,e2/a/b/", ("https://e1.example.net:2379", "https://e2:2379"), "a/b"),
        ("etcd+http://[::1]:2000,localhost/x", ("http://[::1]:2000", "http://localhost:2379"), "x"),
    ],
)
def test_addresses(url: str, servers: tuple[str, ...], prefix: str) -> None:
    found = parse(url)
    assert (found.servers, found.prefix) == (servers, prefix)
    assert found.kind == url.partition(":")[0].partition("+")[0]
    assert found.secure == servers[0].startswith("https")


@pytest.mark.parametrize(
    ("url", "wrong"),
    [
        ("", "no '://'"),
        ("c1:8500", "no '://'"),
        ("zookeeper://c1", "unknown kind 'zookeeper'"),
        ("consul+tcp://c1", "unknown kind"),
        ("consul://", "host ''"),
        ("consul://c1,,c2", "host ''"),
        ("consul://c1:0", "host 'c1:0'"),
        ("consul://c1:65536", "host"),
        ("consul://c1:8500:1", "host"),
        ("consul://me:secret@c1", "secrets stand in files"),
        ("consul://c1?token=x", "host"),
        ("consul://c1/a//b", "prefix"),
        ("consul://c1/../x", "prefix"),
        ("consul://c1/a?b", "prefix"),
        ("consul://c1/" + "a" * 101, "prefix"),
        ("consul://c1,c1", "the same server twice"),
        ("consul://c1,c1:8501", "the same server twice"),
        ("consul://c 1", "host"),
        ("consul://c1\n", "unknown kind"),
        ("consul://-c1", "host"),
    ],
)
def test_wrong_addresses(url: str, wrong: str) -> None:
    with pytest.raises(AddressError) as caught:
        parse(url)
    assert wrong in str(caught.value) and "expected KIND://" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        ({"url": "consul+http://c1"}, "plain HTTP to another machine"),
        ({"url": "consul+http://127.0.0.1,10.0.0.1"}, "http://10.0.0.1:8500: plain HTTP to another machine"),
        ({"url": "consul+http://127.0.0.1.example.net"}, "plain HTTP to another machine"),
        ({"url": "consul+http://localhost", "ca": "x"}, "ca: is for TLS"),
        ({"url": "consul://c1", "key": "x"}, "found only one of them"),
        ({"url": "consul://c1", "certificate": "x"}, "found only one of them"),
        ({"url": "consul://c1", "user": "x", "password": "y"}, "user: is for etcd"),
        ({"url": "etcd://c1", "token": "x"}, "token: is for Consul"),
        ({"url": "etcd://c1", "user": "x"}, "a user needs a password"),
        ({"url": "etcd://c1", "password": "x"}, "a user needs a password"),
    ],
)
def test_what_does_not_go_together(given: dict[str, str], wrong: str) -> None:
    with pytest.raises(AddressError, match=wrong):
        Access(**given)  # type: ignore[arg-type]  # only texts are given here


def test_plain_http_to_others_by_the_operators_word() -> None:
    assert Access("consul+http://c1", insecure=True).address.servers == ("http://c1:8500",)
    assert is_loopback("http://127.9.9.9:1") and is_loopback("http://[::1]:1") and is_loopback("http://localhost:1")
    assert not is_loopback("http://[::2]:1") and not is_loopback("http://localhost.example.net:1")


def test_a_secret_is_one_line_that_others_cannot_read(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("s3cret\n")
    for mode in (0o604, 0o602, 0o644):
        path.chmod(mode)
        with pytest.raises(AddressError, match=f"token file {path}: other users may read or write it .mode {mode:04o}"):
            read_secret(str(path), "token")
    path.chmod(0o640)
    assert read_secret(str(path), "token") == "s3cret"
    for text in ("", "\n", "two\nlines\n", " blank", "tab\there", "x" * 5000, "\u00e9"):
        path.write_text(text)
        with pytest.raises(AddressError, match="expected") as caught:
            read_secret(str(path), "token")
        assert "two" not in str(caught.value) and "xxx" not in str(caught.value)
    with pytest.raises(AddressError, match=r"cannot be read .No such file"):
        read_secret(str(tmp_path / "none"), "token")


def test_files_of_tls_are_named_when_they_cannot_be_used(tmp_path: Path) -> None:
    junk = tmp_path / "junk.pem"
    junk.write_text("no certificate")
    with pytest.raises(AddressError, match=f"CA file {junk}: cannot be used"):
        tls_context(Access("consul://c1", ca=str(junk)))
    with pytest.raises(AddressError, match=r"CA file .*none: cannot be used .No such file"):
        tls_context(Access("consul://c1", ca=str(tmp_path / "none")))
    with pytest.raises(AddressError, match=f"client certificate {junk} with key {junk}: cannot be used"):
        tls_context(Access("consul://c1", certificate=str(junk), key=str(junk)))


@pytest.mark.parametrize("version", ["3.5.28", "3.6.9", "3.6.11", "3.7.0", "4.0.0"])
def test_versions_of_etcd_without_a_word(version: str) -> None:
    assert version_warning(version) == ""


@pytest.mark.parametrize("version", ["3.4.23", "3.4.99", "3.5.0", "3.5.27", "3.6.8", "2.3.8", "3.5.27-rc.1"])
def test_versions_of_etcd_with_known_faults(version: str) -> None:
    assert "3.5.28 or 3.6.9 at least" in version_warning(version)


def test_a_version_that_is_none() -> None:
    assert "do not know" in version_warning("new\x1b[2J")


# --- in cluster.yaml --------------------------------------------------------------------------------------------------


def test_a_cluster_without_it_has_its_own_file(files: Workspace) -> None:
    assert files.load().store is None


def test_paths_lead_from_the_file(files: Workspace) -> None:
    files.cluster(
        "settings:\n",
        "store: {url: 'etcd://e1/x', ca: pem/ca, certificate: /etc/c, key: k, user: u, password_file: p}\nsettings:\n",
    )
    found = files.load().store
    here = files.directory.resolve()
    assert found == Access(
        "etcd://e1/x", ca=f"{here}/pem/ca", certificate="/etc/c", key=f"{here}/k", user="u", password=f"{here}/p"
    )


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("store: {}", "store"),
        ("store: {url: 'consul+http://c1'}", "plain HTTP to another machine"),
        ("store: {url: 'consul://c1', token: abc}", "token"),
        ("store: {url: 'consul://c1', ca: ../../up}", "leads out of the cluster's directory"),
        ("store: {url: 'redis://c1'}", "unknown kind 'redis'"),
        ("store: {url: 'consul://c1', insecure: 'yes'}", "insecure"),
        ("store: here", "store"),
    ],
)
def test_mistakes_are_told_at_their_place(files: Workspace, section: str, said: str) -> None:
    files.cluster("settings:\n", section + "\nsettings:\n")
    line = (files.directory / "cluster.yaml").read_text().splitlines().index(section) + 1
    errors = files.errors()
    assert len(errors) == 1 and said in errors[0] and f"cluster.yaml:{line}:" in errors[0], errors


def test_no_plan_depends_on_it(files: Workspace) -> None:
    before = files.load()
    files.cluster("settings:\n", "store: {url: 'consul://c1'}\nsettings:\n")
    after = files.load()
    assert after.digests == before.digests and after.cluster == before.cluster
