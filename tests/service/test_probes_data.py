"""Probes of the database and of the message bus, against MariaDB and RabbitMQ as Debian packs them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.fake_api import wall
from support.prober import Prober
from support.servers import MariaDb, RabbitMq, free_port, mariadb, rabbitmq
from underway.checks.base import Answer
from underway.checks.build import Kit
from underway.core.availability import account
from underway.core.model.cluster import Probe, QueueAsk, TableAsk

pytestmark = [pytest.mark.service, pytest.mark.slow]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDb]:
    with mariadb(tmp_path_factory.mktemp("mariadb")) as server:
        yield server


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMq]:
    with rabbitmq(tmp_path_factory.mktemp("rabbitmq")) as server:
        yield server


def account_of(tmp_path: Path, password: str = "right") -> dict[str, str]:
    file = tmp_path / "password"
    file.write_text(f"{password}\n")
    return {"user": "probe", "password_file": str(file)}


def row(server: MariaDb, tmp_path: Path, password: str = "right", **more: Any) -> Probe:
    return Probe(
        name="row",
        kind="mysql",
        service="mariadb",
        address=f"127.0.0.1:{server.port}",
        auth=account_of(tmp_path, password),
        mysql=TableAsk(database=more.pop("database", "probes")),
        **more,
    )


def message(server: RabbitMq, tmp_path: Path, password: str = "right", **ask: Any) -> Probe:
    return Probe(
        name="message",
        kind="amqp",
        service="rabbitmq",
        address=f"127.0.0.1:{server.port}",
        auth=account_of(tmp_path, password),
        amqp=QueueAsk(**ask),
    )


def ask(
    probe: Probe, times: int = 1, between: Callable[[], object] = lambda: None, timeout: float = 5.0
) -> list[Answer]:
    async def run() -> list[Answer]:
        kit = Kit({probe.name: probe}, wall)
        answers = []
        try:
            for number in range(times):
                if number:
                    between()
                try:
                    async with asyncio.timeout(timeout):
                        answers.append(await kit.checks[probe.name].ask())
                except TimeoutError:
                    answers.append(Answer(ok=False, error="timeout"))
        finally:
            await kit.close()
        return answers

    return asyncio.run(run())


def errors(probe: Probe, **how: Any) -> list[str]:
    return [answer.error or "ok" for answer in ask(probe, **how)]


def test_a_row_is_written_and_gone(database: MariaDb, tmp_path: Path) -> None:
    assert errors(row(database, tmp_path), times=3) == ["ok"] * 3
    assert database.sql("SELECT COUNT(*) FROM probes.underway_probe") == "0"


def test_old_rows_of_a_killed_prober_are_deleted(database: MariaDb, tmp_path: Path) -> None:
    assert errors(row(database, tmp_path)) == ["ok"]
    database.sql(
        "INSERT INTO probes.underway_probe VALUES ('old', 'row', UTC_TIMESTAMP() - INTERVAL 1 HOUR), "
        "('other', 'another', UTC_TIMESTAMP() - INTERVAL 1 HOUR), ('young', 'row', UTC_TIMESTAMP())"
    )
    assert errors(row(database, tmp_path)) == ["ok"]
    assert database.sql("SELECT id FROM probes.underway_probe ORDER BY id").split() == ["other", "young"]
    database.sql("DELETE FROM probes.underway_probe")


def test_what_a_database_refuses(database: MariaDb, tmp_path: Path) -> None:
    assert errors(row(database, tmp_path, password="wrong")) == ["sql 1045"]
    assert errors(row(database, tmp_path, database="mysql")) == ["sql 1044"]
    assert errors(row(database, tmp_path)) == ["ok"]
    database.sql("SET GLOBAL read_only = ON")
    try:
        assert errors(row(database, tmp_path)) == ["sql 1290"]
    finally:
        database.sql("SET GLOBAL read_only = OFF")
    missing = row(database, tmp_path)
    Path(missing.auth["password_file"]).unlink()
    assert errors(missing) == ["local: password file"]


def test_a_locked_table_is_a_timeout(database: MariaDb, tmp_path: Path) -> None:
    """Reads would still be answered: that is why a write is asked."""
    assert errors(row(database, tmp_path)) == ["ok"]
    database.sql("SET GLOBAL innodb_lock_wait_timeout = 2")
    import subprocess

    words = ["mariadb", "--no-defaults", f"--socket={database.directory}/mariadb.sock", "-u", "root", "-e"]
    locker = subprocess.Popen([*words, "LOCK TABLES probes.underway_probe READ; DO SLEEP(4)"])
    time.sleep(0.7)
    assert errors(row(database, tmp_path), timeout=1.0) == ["timeout"]
    locker.wait(20)
    assert errors(row(database, tmp_path)) == ["ok"]


def test_an_outage_of_the_database_is_measured(database: MariaDb, tmp_path: Path) -> None:
    probe = row(database, tmp_path, every=0.1, timeout=2.0)
    with Prober(tmp_path, {"row": probe}) as prober:
        time.sleep(1.0)
        down = wall()
        database.stop()
        stopped = wall()
        time.sleep(1.0)
        starting = wall()
        database.start()
        up = wall()
        time.sleep(1.0)
        assert prober.stop() == 0
        samples = prober.read().samples
    ledger = account(samples, {"row": probe}, samples[-1].due + 0.1)
    (outage,) = ledger.outages
    assert down - 0.1 <= outage.start <= stopped + 0.3
    assert starting <= outage.end <= up + 0.5
    assert set(outage.errors) <= {"refused", "closed", "reset", "sql 1053", "sql 1927", "timeout"}, outage.errors
    assert "refused" in outage.errors
    assert database.sql("SELECT COUNT(*) FROM probes.underway_probe") == "0"


def test_a_closed_port(tmp_path: Path) -> None:
    nobody = free_port()
    login = account_of(tmp_path)
    database = Probe(
        name="p", kind="mysql", address=f"127.0.0.1:{nobody}", auth=login, mysql=TableAsk(database="probes")
    )
    broker = Probe(name="p", kind="amqp", address=f"127.0.0.1:{nobody}", auth=login)
    assert errors(database) == ["refused"]
    assert errors(broker) == ["refused"]


@pytest.mark.parametrize("queue", ["classic", "quorum"])
def test_a_message_there_and_back(broker: RabbitMq, tmp_path: Path, queue: str) -> None:
    assert errors(message(broker, tmp_path, queue=queue), times=3) == ["ok"] * 3
    assert broker.queues() == [], "nothing is left behind"


def test_what_a_broker_refuses(broker: RabbitMq, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert errors(message(broker, tmp_path, password="wrong-canary")) == ["amqp 403"]
    assert errors(message(broker, tmp_path, vhost="elsewhere")) == ["amqp: turned away"]
    assert "canary" not in "".join(capfd.readouterr())


def test_an_outage_of_the_broker_is_measured(broker: RabbitMq, tmp_path: Path) -> None:
    probe = message(broker, tmp_path)
    probe = Probe(name="message", kind="amqp", service="rabbitmq", address=probe.address, auth=probe.auth, every=0.25)
    with Prober(tmp_path, {"message": probe}) as prober:
        time.sleep(1.0)
        down = wall()
        broker.stop()
        time.sleep(0.5)
        starting = wall()
        broker.start()
        up = wall()
        end = time.monotonic() + 20
        while prober.read().samples[-1].result != "ok" and time.monotonic() < end:
            time.sleep(0.1)
        assert prober.stop() == 0
        samples = prober.read().samples
    outages = account(samples, {"message": probe}, samples[-1].due + 0.25).outages
    assert outages, "it was down"
    assert down - 0.3 <= outages[0].start <= starting
    assert starting <= outages[-1].end <= up + 15
    assert all(
        word.startswith(("amqp", "refused", "closed", "reset", "timeout")) for one in outages for word in one.errors
    )
