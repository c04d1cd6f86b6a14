"""What must be true on a controller, whatever its release. Run by testinfra."""

import pytest

UNITS = (
    "mariadb",
    "rabbitmq-server",
    "memcached",
    "keystone",
    "glance-api",
    "placement-api",
    "nova-api",
    "nova-conductor",
    "nova-scheduler",
    "ledger",
)
PORTS = {"keystone": 5000, "glance": 9292, "placement": 8778, "nova": 8774, "ledger": 8099}


@pytest.mark.parametrize("unit", UNITS)
def test_unit_runs(host, unit):
    assert host.service(unit).is_running


@pytest.mark.parametrize("port", PORTS.values(), ids=PORTS)
def test_port_is_open(host, port):
    assert host.check_output(f"ss --no-header --listening --tcp --numeric sport = :{port}")


def test_units_run_from_one_release(host):
    links = host.check_output("readlink /opt/current/* | sort -u").split()
    assert len(links) == 1
    assert host.file(links[0]).is_directory


def test_database_is_a_synced_member_of_three(host):
    told = host.check_output(
        "mariadb --batch --skip-column-names --execute"
        " \"SHOW STATUS WHERE Variable_name IN ('wsrep_cluster_size', 'wsrep_local_state_comment')\""
    )
    assert dict(line.split("\t") for line in told.splitlines()) == {
        "wsrep_cluster_size": "3",
        "wsrep_local_state_comment": "Synced",
    }


def test_message_queue_is_a_member_of_three(host):
    told = host.check_output("rabbitmqctl --quiet eval 'length(rabbit_nodes:list_running()).'")
    assert told.strip() == "3"


@pytest.mark.parametrize("path", ["/etc/keystone/keystone.conf", "/etc/nova/nova.conf", "/etc/glance/glance-api.conf"])
def test_passwords_are_nobody_elses_business(host, path):
    assert host.file(path).exists
    assert host.file(path).mode & 0o007 == 0
