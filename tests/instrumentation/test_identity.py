"""Who a process is: its ids, and the resource that its records carry."""

import os
import socket

import pytest

from lastspan.instrumentation.guest.identity import Identity, worker_id

WORKER_ID = "OTEL_LASTSPAN_WORKER_ID"


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WORKER_ID, "0011223344556677")
    monkeypatch.delenv("OTEL_SERVICE_NAME", raising=False)


def test_only_the_allow_listed_leaves() -> None:
    """Command lines, users and whatever an operator added stay here; the known families go."""
    provider = {
        "service.name": "shop",
        "service.version": "1.4",
        "deployment.environment.name": "production",
        "k8s.pod.name": "shop-1",
        "container.id": "abc",
        "host.name": "node-3",
        "telemetry.sdk.language": "python",
        "process.command_args": ("worker", "--password=hunter2"),
        "process.command_line": "worker --password=hunter2",
        "process.owner": "hunter2",
        "process.executable.path": "/home/hunter2/bin/python",
        "secret": "hunter2",
        "enduser.id": "hunter2",
        "serviceX": "hunter2",
    }
    resource = Identity().resource(provider)
    assert "hunter2" not in str(resource)
    assert {name: value for name, value in provider.items() if "hunter2" not in str(value)}.items() <= resource.items()


def test_what_we_know_ourselves() -> None:
    """Without a provider: the host, the process, its parent, the worker; the service's name from its variable."""
    assert (
        Identity().resource({}).items()
        >= {
            "service.name": "unknown_service",
            "host.name": socket.gethostname(),
            "process.pid": os.getpid(),
            "process.parent_pid": os.getppid(),
            "lastspan.worker.id": "0011223344556677",
        }.items()
    )


def test_the_service_name_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """It stands in where no provider has one."""
    monkeypatch.setenv("OTEL_SERVICE_NAME", "shop")
    assert Identity().resource({})["service.name"] == "shop"
    assert Identity().resource({"service.name": "billing"})["service.name"] == "billing"


@pytest.mark.parametrize("value", ["caf\udce9", "x" * 100_000])
def test_the_resource_is_valid_and_short(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes of the environment that are no UTF-8, and texts without end."""
    monkeypatch.setenv("OTEL_SERVICE_NAME", value)
    for resource in (
        Identity().resource({}),
        Identity().resource({"service.name": value, "service.instance.id": value, "k8s.pod.labels": [value]}),
    ):
        for text in resource.values():
            if isinstance(text, str):
                assert len(text.encode("utf-8")) <= 256


def test_the_pid_is_ours() -> None:
    """A provider's resource may be a parent's: the process that speaks is this one."""
    resource = Identity().resource({"process.pid": 1, "process.parent_pid": 1, "lastspan.worker.id": "other"})
    assert resource["process.pid"] == os.getpid()
    assert resource["lastspan.worker.id"] == "0011223344556677"


@pytest.mark.parametrize(
    ("inherited", "current", "is_ours"),
    [
        (None, "a", True),  # the first process
        ("a", "b", True),  # the SDK renewed it after the fork
        ("a", "a", False),  # a fork's child with its parent's: a new one
        (None, None, False),  # nobody made one
    ],
)
def test_the_instance_id_is_of_one_process(inherited: str | None, current: str | None, is_ours: bool) -> None:
    """The provider's if it is unique to this process, else our own."""
    identity = Identity(inherited_instance=inherited)
    instance = identity.resource({"service.instance.id": current} if current else {})["service.instance.id"]
    assert instance == (current if is_ours else identity.process_id)


def test_ids_are_new_in_each_process() -> None:
    """16 hex digits, never twice."""
    ids = {Identity().process_id for _ in range(100)}
    assert len(ids) == 100
    assert all(len(bytes.fromhex(one)) == 8 for one in ids)


def test_the_sequence_rises_by_one() -> None:
    """From 1, without gaps."""
    identity = Identity()
    assert [identity.next_sequence() for _ in range(5)] == [1, 2, 3, 4, 5]


def test_the_workers_id_is_made_once_and_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first that asks makes it; children that are started find it in their environment."""
    monkeypatch.setenv(WORKER_ID, "")
    made = worker_id()
    assert made == worker_id() == os.environ[WORKER_ID]
    assert len(bytes.fromhex(made)) == 8
