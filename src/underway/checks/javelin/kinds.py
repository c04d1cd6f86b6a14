"""How each kind of resource is found, made, looked at and removed.

``make`` is called only where nothing has the name. It notes what it made as soon as that is there (``Cloud.made``), and
``remove`` removes nothing but what is noted. ``look`` raises Wrong where it is not as noted.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from openstack.exceptions import ConflictException, NotFoundException

from underway.checks.javelin.cloud import READY, Cloud, Notes, Wrong, key_of
from underway.checks.javelin.file import Spec


@dataclass(frozen=True, slots=True)
class Kind:
    """What can be done with a kind of resource. ``find``: all of the name that its owner sees, each with an ``id``."""

    what: str
    find: Callable[[Cloud, Spec], list[Any]]
    make: Callable[[Cloud, Spec], None]
    look: Callable[[Cloud, Spec, Any, Notes], None]
    remove: Callable[[Cloud, Spec, Notes], None]


def _look_no_closer(*_: object) -> None:
    """That it is there is all that can be asked."""


def _named(cloud: Cloud, kind: str, spec: Spec, name: str) -> str:
    """The id of something that a resource needs: what the file makes of that name, or what was there. Raises Wrong."""
    if any(one["name"] == name for one in cloud.javelin.specs[kind]):
        notes = cloud.saved.get(key_of(kind, {"name": name}), {})
        if not notes.get("made"):
            raise Wrong(f"its {KINDS[kind].what} {name} was not made here")
        return notes["id"]
    found = KINDS[kind].find(cloud, {**spec, "name": name})
    if not found:
        raise Wrong(f"there is no {KINDS[kind].what} {name}")
    return str(found[0].id)


def _domain(cloud: Cloud) -> str:
    domain: str = cloud.admin().identity.find_domain(cloud.admin_account.project_domain, ignore_missing=False).id
    return domain


def _find_tenant(cloud: Cloud, spec: Spec) -> list[Any]:
    found = cloud.admin().identity.find_project(spec["name"], domain_id=_domain(cloud))
    return [found] if found is not None and found.name == spec["name"] else []


def _make_tenant(cloud: Cloud, spec: Spec) -> None:
    made = cloud.admin().identity.create_project(name=spec["name"], domain_id=_domain(cloud))
    cloud.made("tenants", spec, made.id)


def _look_tenant(_cloud: Cloud, _spec: Spec, found: Any, _notes: Notes) -> None:
    if not found.is_enabled:
        raise Wrong("the tenant is disabled")


def _remove_tenant(cloud: Cloud, _spec: Spec, notes: Notes) -> None:
    cloud.admin().identity.delete_project(notes["id"])


def _find_user(cloud: Cloud, spec: Spec) -> list[Any]:
    found = cloud.admin().identity.find_user(spec["name"], domain_id=_domain(cloud))
    return [found] if found is not None and found.name == spec["name"] else []


def _make_user(cloud: Cloud, spec: Spec) -> None:
    identity = cloud.admin().identity
    tenant = _named(cloud, "tenants", spec, spec["tenant"])
    roles = (identity.find_role(name) for name in ("member", "Member", "_member_"))
    role = next((role for role in roles if role is not None), None)
    if role is None:
        raise Wrong("there is no role 'member'")
    made = identity.create_user(
        name=spec["name"], password=str(spec["pass"]), domain_id=_domain(cloud), default_project_id=tenant
    )
    cloud.made("users", spec, made.id, tenant=tenant)
    identity.assign_project_role_to_user(tenant, made, role)


def _look_user(cloud: Cloud, spec: Spec, _found: Any, notes: Notes) -> None:
    token = cloud.owner(spec["name"]).session.get_project_id()  # it can still get a token, of its own tenant
    if notes.get("tenant") and token != notes["tenant"]:
        raise Wrong(f"its token is of tenant {token}, made as {notes['tenant']}")


def _remove_user(cloud: Cloud, _spec: Spec, notes: Notes) -> None:
    cloud.admin().identity.delete_user(notes["id"])


def _find_image(cloud: Cloud, spec: Spec) -> list[Any]:
    return list(cloud.of(spec["owner"], "image").image.images(name=spec["name"]))


def _make_image(cloud: Cloud, spec: Spec) -> None:
    image = cloud.of(spec["owner"], "image").image
    made = image.create_image(
        spec["name"],
        filename=str(cloud.path(spec)),
        disk_format=spec.get("disk_format", "raw"),
        container_format=spec.get("container_format", "bare"),
        validate_checksum=True,
        wait=True,
        timeout=int(READY),
    )
    cloud.made("images", spec, made.id)
    cloud.made("images", spec, made.id, checksum=image.get_image(made.id).checksum or "")


def _look_image(cloud: Cloud, spec: Spec, found: Any, notes: Notes) -> None:
    if found.status != "active":
        raise Wrong(f"the image is {found.status}")
    digest = hashlib.md5(usedforsecurity=False)  # what Glance notes of an image
    content = cloud.of(spec["owner"], "image").image.download_image(found, stream=True)
    for chunk in content.iter_content(65536):
        digest.update(chunk)
    if notes.get("checksum") and digest.hexdigest() != notes["checksum"]:
        raise Wrong("the image's content is another")


def _remove_image(cloud: Cloud, spec: Spec, notes: Notes) -> None:
    cloud.of(spec["owner"], "image").image.delete_image(notes["id"])


def _network(cloud: Cloud, spec: Spec) -> Any:
    return cloud.of(spec["owner"], "network").network


def _finds(plural: str) -> Callable[[Cloud, Spec], list[Any]]:
    """How a resource of the network is found by its name."""
    return lambda cloud, spec: list(getattr(_network(cloud, spec), plural)(name=spec["name"]))


def _removes(single: str) -> Callable[[Cloud, Spec, Notes], None]:
    """How a resource of the network is removed."""
    return lambda cloud, spec, notes: getattr(_network(cloud, spec), f"delete_{single}")(notes["id"])


def _make_secgroup(cloud: Cloud, spec: Spec) -> None:
    network = _network(cloud, spec)
    made = network.create_security_group(name=spec["name"], description=spec.get("description", ""))
    cloud.made("secgroups", spec, made.id)
    for rule in spec.get("rules", ()):
        protocol, low, high, cidr = str(rule).split()
        ports = {} if int(low) < 0 else {"port_range_min": int(low), "port_range_max": int(high)}
        network.create_security_group_rule(
            security_group_id=made.id, direction="ingress", protocol=protocol, remote_ip_prefix=cidr, **ports
        )


def _make_network(cloud: Cloud, spec: Spec) -> None:
    cloud.made("networks", spec, _network(cloud, spec).create_network(name=spec["name"]).id)


def _make_subnet(cloud: Cloud, spec: Spec) -> None:
    inside = _named(cloud, "networks", spec, spec["network"])
    made = _network(cloud, spec).create_subnet(
        name=spec["name"], network_id=inside, cidr=spec["range"], ip_version=4
    )  # fmt: skip
    cloud.made("subnets", spec, made.id)


def _make_router(cloud: Cloud, spec: Spec) -> None:
    network = _network(cloud, spec)
    gateway = network.find_network("public") if spec.get("gateway") else None
    outside = {"external_gateway_info": {"network_id": gateway.id}} if gateway is not None else {}
    subnets = [_named(cloud, "subnets", spec, name) for name in spec.get("subnet", ())]
    made = network.create_router(name=spec["name"], **outside)
    cloud.made("routers", spec, made.id, subnets=" ".join(subnets))
    for subnet in subnets:
        network.add_interface_to_router(made, subnet_id=subnet)


def _remove_router(cloud: Cloud, spec: Spec, notes: Notes) -> None:
    network = _network(cloud, spec)
    for subnet in notes.get("subnets", "").split():
        with contextlib.suppress(NotFoundException):
            network.remove_interface_from_router(notes["id"], subnet_id=subnet)
    network.delete_router(notes["id"])


def _storage(cloud: Cloud, spec: Spec) -> Any:
    return cloud.of(spec["owner"], "block-storage").block_storage


def _find_volume(cloud: Cloud, spec: Spec) -> list[Any]:
    return list(_storage(cloud, spec).volumes(name=spec["name"]))


def _make_volume(cloud: Cloud, spec: Spec) -> None:
    storage = _storage(cloud, spec)
    made = storage.create_volume(name=spec["name"], size=int(spec["gb"]))
    cloud.made("volumes", spec, made.id)
    storage.wait_for_status(made, "available", ["error"], 2, READY)


def _remove_volume(cloud: Cloud, spec: Spec, notes: Notes) -> None:
    storage = _storage(cloud, spec)
    with contextlib.suppress(NotFoundException):
        found = storage.get_volume(notes["id"])
        storage.delete_volume(found)
        storage.wait_for_delete(found, 2, READY)


def _find_server(cloud: Cloud, spec: Spec) -> list[Any]:
    compute = cloud.of(spec["owner"], "compute").compute
    rows = compute.servers(details=True, name=f"^{spec['name']}$")
    return [row for row in rows if row.name == spec["name"]]


def _make_server(cloud: Cloud, spec: Spec) -> None:
    connection = cloud.of(spec["owner"], "compute")
    image = _named(cloud, "images", spec, spec["image"]) if spec.get("image") else ""
    nets = [{"uuid": _named(cloud, "networks", spec, name)} for name in spec.get("networks", ())]
    made = connection.compute.create_server(
        name=spec["name"],
        flavor_id=connection.compute.find_flavor(spec["flavor"], ignore_missing=False).id,
        image_id=image,
        networks=nets or "none",
    )
    cloud.made("servers", spec, made.id)
    connection.compute.wait_for_server(made, "ACTIVE", ["ERROR"], 1, READY)


def _look_server(_cloud: Cloud, _spec: Spec, found: Any, _notes: Notes) -> None:
    if found.status != "ACTIVE":
        raise Wrong(f"the server is {found.status}")


def _remove_server(cloud: Cloud, spec: Spec, notes: Notes) -> None:
    compute = cloud.of(spec["owner"], "compute").compute
    with contextlib.suppress(NotFoundException):
        found = compute.get_server(notes["id"])
        compute.delete_server(found)
        compute.wait_for_delete(found, 1, READY)


@dataclass(frozen=True, slots=True)
class _Object:
    """An object of the store; it has no other identity than its content's digest."""

    id: str


def _objects(cloud: Cloud, spec: Spec) -> Any:
    return cloud.of(spec["owner"], "object-store").object_store


def _find_object(cloud: Cloud, spec: Spec) -> list[Any]:
    try:
        found = _objects(cloud, spec).get_object_metadata(spec["name"], container=spec["container"])
    except NotFoundException:
        return []
    return [_Object(str(found.etag).strip('"'))]


def _make_object(cloud: Cloud, spec: Spec) -> None:
    storage = _objects(cloud, spec)
    data = cloud.path(spec).read_bytes()
    notes = {"sha256": hashlib.sha256(data).hexdigest()}
    try:
        storage.get_container_metadata(spec["container"])
    except NotFoundException:
        notes["container"] = spec["container"]
    digest = hashlib.md5(data, usedforsecurity=False).hexdigest()  # what Swift calls an object's etag
    cloud.made("objects", spec, digest, **notes)
    storage.create_container(name=spec["container"])
    storage.upload_object(spec["container"], spec["name"], data=data)


def _look_object(cloud: Cloud, spec: Spec, _found: Any, notes: Notes) -> None:
    data = _objects(cloud, spec).download_object(spec["name"], container=spec["container"])
    if hashlib.sha256(data).hexdigest() != notes.get("sha256"):
        raise Wrong("the object's content is another")


def _remove_object(cloud: Cloud, spec: Spec, notes: Notes) -> None:
    storage = _objects(cloud, spec)
    if any(found.id == notes["id"] for found in _find_object(cloud, spec)):
        storage.delete_object(spec["name"], container=spec["container"])
    if notes.get("container"):
        with contextlib.suppress(ConflictException):  # others have put something into it: then it is theirs as well
            storage.delete_container(notes["container"])


KINDS: Mapping[str, Kind] = {
    "tenants": Kind("tenant", _find_tenant, _make_tenant, _look_tenant, _remove_tenant),
    "users": Kind("user", _find_user, _make_user, _look_user, _remove_user),
    "secgroups": Kind(
        "security group", _finds("security_groups"), _make_secgroup, _look_no_closer, _removes("security_group")
    ),
    "images": Kind("image", _find_image, _make_image, _look_image, _remove_image),
    "networks": Kind("network", _finds("networks"), _make_network, _look_no_closer, _removes("network")),
    "subnets": Kind("subnet", _finds("subnets"), _make_subnet, _look_no_closer, _removes("subnet")),
    "routers": Kind("router", _finds("routers"), _make_router, _look_no_closer, _remove_router),
    "volumes": Kind("volume", _find_volume, _make_volume, _look_no_closer, _remove_volume),
    "servers": Kind("server", _find_server, _make_server, _look_server, _remove_server),
    "objects": Kind("object", _find_object, _make_object, _look_object, _remove_object),
}
