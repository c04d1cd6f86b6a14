"""Every service of the shipped catalogue says what it is made of, so that a release can leave it out."""

from __future__ import annotations

from underway.config import shipped

BITS = {name: service.get("bits", {}) for name, service in shipped.services("openstack").items()}


def test_each_says_what_it_is_made_of() -> None:
    assert len(BITS) > 50
    assert [name for name, bits in BITS.items() if not bits] == []


def test_python_programs_name_the_environment_and_the_packages() -> None:
    for name in ("keystone", "nova", "nova-compute", "cinder-volume", "neutron-l3-agent"):
        assert BITS[name] == {"environments": ["*"], "packages": ["python3-*", f"*{name}*"]}
    assert BITS["mariadb"] == {"packages": ["mariadb*", "galera*", "libmariadb*"]}
