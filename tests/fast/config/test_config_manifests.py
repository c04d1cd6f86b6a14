"""Lists of what hosts hold: read as their tools write them, and refused by line where they are something else."""

from __future__ import annotations

import json

import pytest

from fast.config.workspace import Workspace
from underway.config.manifests import class_line, dpkg_line, freeze_line, rpm_line, sum_line

DIGEST = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("parse", "line", "item"),
    [
        (dpkg_line, "keystone\t2:27.0.0-3", ("keystone", "2:27.0.0-3")),
        (dpkg_line, "libc6:amd64\t2.41-12", ("libc6", "2.41-12")),
        (dpkg_line, "known-only\t", None),
        (dpkg_line, "Desired=Unknown/Install/Remove/Purge/Hold", None),
        (dpkg_line, "||/ Name  Version  Architecture Description", None),
        (dpkg_line, "+++-=====-=====-=====-=====", None),
        (dpkg_line, "ii  keystone  2:27.0.0-3  all  OpenStack identity service", ("keystone", "2:27.0.0-3")),
        (dpkg_line, "hi  mariadb-server 1:11.8 all  held back", ("mariadb-server", "1:11.8")),
        (dpkg_line, "rc  gone  1.0  all  only its configuration is left", None),
        (rpm_line, "openstack-keystone-27.0.0-1.el9.noarch", ("openstack-keystone", "27.0.0-1.el9")),
        (rpm_line, "python3-oslo.messaging-16.1-2.el9.x86_64", ("python3-oslo.messaging", "16.1-2.el9")),
        (rpm_line, "gpg-pubkey-764429e6-53396cd6", None),
        (rpm_line, "openstack-keystone 1:27.0.0-1.el9", ("openstack-keystone", "1:27.0.0-1.el9")),
        (freeze_line, "keystone==27.0.0", ("keystone", "27.0.0")),
        (freeze_line, "Oslo.Messaging===16.1", ("oslo-messaging", "16.1")),
        (freeze_line, "nova @ file:///srv/nova-31.whl#sha256=0a", ("nova", "file:///srv/nova-31.whl#sha256=0a")),
        (freeze_line, "-e git+https://x/nova@0a1b#egg=nova", ("nova", "git+https://x/nova@0a1b")),
        (freeze_line, "# installed by hand", None),
        (sum_line, f"{DIGEST}  ./usr/bin/nova-api", ("/usr/bin/nova-api", DIGEST)),
        (sum_line, f"{DIGEST[:32].upper()} */a b", ("/a b", DIGEST[:32])),
        (class_line, "cloud::identity 24.1.0", ("cloud::identity", "24.1.0")),
        (class_line, "# classes of J.1.2", None),
    ],
)
def test_lines_as_tools_write_them(parse, line, item) -> None:  # type: ignore[no-untyped-def]
    assert parse(line) == item


@pytest.mark.parametrize(
    ("key", "text", "said"),
    [
        (
            "dpkg",
            "one two three\n",
            "x.txt:1:1: manifest: expected 'PACKAGE VERSION', as 'dpkg-query -W' writes it; found",
        ),
        ("dpkg", "a 1\nkeystone==27\n", "x.txt:2:1: manifest: expected 'PACKAGE VERSION'"),
        ("rpm", "keystone\n", "expected 'NAME-VERSION-RELEASE.ARCH', as 'rpm -qa' writes it; found 'keystone'"),
        ("classes", "cloud::api\n", "expected 'CLASS VERSION' (a name alone hides that the class changed)"),
        ("dpkg", "", "the list is empty: then all that is installed would be gone"),
        ("dpkg", "\n\n", "the list is empty"),
        ("dpkg", "a \x1b[31m1\n", "character U+001B is not allowed in a text file"),
        ("dpkg", b"a 1\n\xff 2\n", "byte 0xff is not UTF-8"),
        ("dpkg", "x" * 5000 + " 1\n", "expected at most 1,000,000 lines of 4,096 characters"),
        ("dpkg", None, "the file does not exist"),
    ],
)
def test_what_is_no_such_list_is_told_with_its_line(
    files: Workspace, key: str, text: str | bytes | None, said: str
) -> None:
    if text is not None:
        (files.directory / "releases/x.txt").write_bytes(text.encode() if isinstance(text, str) else text)
    files.edit("releases/2.0.yaml", "services:", f"manifest: {{{key}: [x.txt]}}\nservices:")
    [problem] = files.errors()
    assert said in problem


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("{image: {full: x.txt}}", "unknown key 'image' (did you mean 'images'?)"),
        ("{images: {full: x.txt}}", "expected 'DIGEST  PATH', as 'sha256sum' writes it (a name alone hides that"),
        ("{environments: {os: x.txt}}", "expected 'NAME==VERSION', as 'pip freeze' writes it"),
        ("{environments: {'o:s': x.txt}}", "'o:s': expected a name of letters, digits, '.', '_' and '-'"),
        ("{dpkg: [../../etc/passwd]}", "leads out of the cluster's directory"),
        ("{dpkg: [.]}", "expected a regular file"),
        ("{settings: x.txt}", "expected what 'underway manifest --settings' writes"),
        ("{dpkg: x.txt}", "expected a list"),
    ],
)
def test_what_a_manifest_may_not_say(files: Workspace, written: str, said: str) -> None:
    (files.directory / "releases/x.txt").write_text("/usr/bin/nova\n")
    files.edit("releases/2.0.yaml", "services:", f"manifest: {written}\nservices:")
    assert any(said in problem for problem in files.errors()), files.errors()


def test_many_wrong_lines_are_told_up_to_a_bound(files: Workspace) -> None:
    (files.directory / "releases/x.txt").write_text("wrong\n" * 5000)
    files.edit("releases/2.0.yaml", "services:", "manifest: {rpm: [x.txt]}\nservices:")
    assert len(files.errors()) == 20


def test_lists_of_several_hosts_are_one_and_bits_are_patterns(files: Workspace) -> None:
    lists = {
        "a.txt": "api 1.0\ncurl 8.0\n", "b.txt": "api 1.1\n", "f.txt": "Oslo_Log==5\n",
        "i.txt": f"{DIGEST}  ./etc/x\n", "s.json": json.dumps({"region": ["0" * 32]}),
    }  # fmt: skip
    for name, text in lists.items():
        (files.directory / "releases" / name).write_text(text)
    manifest = "{dpkg: [a.txt, b.txt], environments: {os: f.txt}, images: {full: i.txt}, settings: s.json}"
    files.edit("releases/2.0.yaml", "services:", f"manifest: {manifest}\nservices:")
    files.edit("services/api.yaml", "needs:", 'bits: {packages: [api, "libapi*"]}\nneeds:')
    found = files.load().catalogue
    assert found.services["api"].bits == {"packages": ("api", "libapi*")}
    read = found.releases["2.0"].manifest
    assert read is not None
    assert read.lists == {
        "packages": {"api": ("1.0", "1.1"), "curl": ("8.0",)},
        "environments": {"os:oslo-log": ("5",)},
        "images": {"full:/etc/x": (DIGEST,)},
        "settings": {"region": ("0" * 32,)},
    }


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("{package: [api]}", "package"),
        ("{packages: []}", "no pattern: of packages it would never change"),
        ("{packages: api}", "expected a list"),
        ('{packages: ["a\\nb"]}', "control character"),
    ],
)
def test_what_bits_may_not_say(files: Workspace, written: str, said: str) -> None:
    files.edit("services/api.yaml", "needs:", f"bits: {written}\nneeds:")
    assert any(said in problem for problem in files.errors()), files.errors()
