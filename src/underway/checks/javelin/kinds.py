"""How each kind of resource is made, looked for and removed; each may be done again.

``make`` finds what is there already; it gives back what to note of it. ``look`` raises Wrong where it is not as noted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from underway.checks.javelin.cloud import READY, Cloud, Wrong
from underway.checks.javelin.file import Spec

Notes = dict[str, str]


@dataclass(frozen=True, slots=True)
class Kind:
    """The three things that can be done with a kind of resource."""

    make: Callable[[Cloud, Spec], Notes]
    look: Callable[[Cloud, Spec, Notes], None]
    remove: Callable[[Cloud, Spec], None]


def _same(found: Any, notes: Notes, what: str) -> Any:
    """What was found, if it is what was made. Raises Wrong."""
    if found is None:
        raise Wrong(f"the {what} is gone")
    if notes.get("id") and found.id != notes["id"]:
        raise Wrong(f"the {what} is another: id {found.id}, made as {notes['id']}")
    return found


def _domain(cloud: Cloud) -> str:
    domain: str = cloud.admin().identity.find_domain(cloud.admin_account.project_domain, ignore_missing=False).id
    return domain


def _tenant(cloud: Cloud, name: str) -> Any:
    return cloud.admin().identity.find_project(name, domain_id=_domain(cloud))


def _make_tenant(cloud: Cloud, spec: Spec) -> Notes:
    found = _tenant(cloud, spec["name"])
    if found is None:
        found = cloud.admin().identity.create_project(name=spec["name"], domain_id=_domain(cloud))
    return {"id": found.id}


def _look_tenant(cloud: Cloud, spec: Spec, notes: Notes) -> None:
    if not _same(_tenant(cloud, spec["name"]), notes, "tenant").is_enabled:
        raise Wrong("the tenant is disabled")


def _remove_tenant(cloud: Cloud, spec: Spec) -> None:
    found = _tenant(cloud, spec["name"])
    if found is not None:
        cloud.admin().identity.delete_project(found)


def find_user(cloud: Cloud, name: str) -> Any:
    """The user of a name, or None."""
    return cloud.admin().identity.find_user(name, domain_id=_domain(cloud))


def _make_user(cloud: Cloud, spec: Spec) -> Notes:
    identity = cloud.admin().identity
    tenant = _tenant(cloud, spec["tenant"])
    if tenant is None:
        raise Wrong(f"there is no tenant {spec['tenant']}")
    found = find_user(cloud, spec["name"])
    if found is None:
        found = identity.create_user(
            name=spec["name"], password=str(spec["pass"]), domain_id=_domain(cloud), default_project_id=tenant.id
        )
    role = identity.find_role("member") or identity.find_role("Member") or identity.create_role(name="member")
    identity.assign_project_role_to_user(tenant, found, role)
    return {"id": found.id, "tenant": tenant.id}


def _look_user(cloud: Cloud, spec: Spec, notes: Notes) -> None:
    _same(find_user(cloud, spec["name"]), notes, "user")
    token = cloud.owner(spec["name"]).session.get_project_id()  # it can still get a token, of its own tenant
    if notes.get("tenant") and token != notes["tenant"]:
        raise Wrong(f"its token is of tenant {token}, made as {notes['tenant']}")


def _remove_user(cloud: Cloud, spec: Spec) -> None:
    found = find_user(cloud, spec["name"])
    if found is not None:
        cloud.admin().identity.delete_user(found)


def _make_image(cloud: Cloud, spec: Spec) -> Notes:
    connection = cloud.of(spec["owner"], "image")
    found = connection.image.find_image(spec["name"])
    if found is None:
        found = connection.image.create_image(
            spec["name"],
            filename=str(cloud.path(spec)),
            disk_format=spec.get("disk_format", "raw"),
            container_format=spec.get("container_format", "bare"),
            validate_checksum=True,
            wait=True,
            timeout=int(READY),
        )
    found = connection.image.get_image(found.id)
    return {"id": found.id, "checksum": found.checksum or ""}


def _look_image(cloud: Cloud, spec: Spec, notes: Notes) -> None:
    connection = cloud.of(spec["owner"], "image")
    found = _same(connection.image.find_image(spec["name"]), notes, "image")
    if found.status != "active":
        raise Wrong(f"the image is {found.status}")
    digest = hashlib.md5(usedforsecurity=False)  # what Glance notes of an image
    for chunk in connection.image.download_image(found, stream=True).iter_content(65536):
        digest.update(chunk)
    if notes.get("checksum") and digest.hexdigest() != notes["checksum"]:
        raise Wrong("the image's content is another")


def _remove_image(cloud: Cloud, spec: Spec) -> None:
    connection = cloud.of(spec["owner"], "image")
    found = connection.image.find_image(spec["name"])
    if found is not None:
        connection.image.delete_image(found)


def _named(plural: str, single: str) -> tuple[Callable[[Cloud, Spec], Any], Callable[[Cloud, Spec], None]]:
    """How a resource of the network is found by its name, and removed."""

    def find(cloud: Cloud, spec: Spec) -> Any:
        network = cloud.of(spec["owner"], "network").network
        return next(iter(getattr(network, plural)(name=spec["name"])), None)

    def remove(cloud: Cloud, spec: Spec) -> None:
        found = find(cloud, spec)
        if found is not None:
            getattr(cloud.of(spec["owner"], "network").network, f"delete_{single}")(found)

    return find, remove


_find_secgroup, _remove_secgroup = _named("security_groups", "security_group")
_find_network, _remove_network = _named("networks", "network")
_find_subnet, _remove_subnet = _named("subnets", "subnet")
_find_router, _remove_bare_router = _named("routers", "router")


def _make_secgroup(cloud: Cloud, spec: Spec) -> Notes:
    network = cloud.of(spec["owner"], "network").network
    found = _find_secgroup(cloud, spec)
    if found is None:
        found = network.create_security_group(name=spec["name"], description=spec.get("description", ""))
        for rule in spec.get("rules", ()):
            protocol, low, high, cidr = str(rule).split()
            ports = {} if int(low) < 0 else {"port_range_min": int(low), "port_range_max": int(high)}
            network.create_security_group_rule(
                security_group_id=found.id, direction="ingress", protocol=protocol, remote_ip_prefix=cidr, **ports
            )
    return {"id": found.id}


def _make_network(cloud: Cloud, spec: Spec) -> Notes:
    found = _find_network(cloud, spec)
    if found is None:
        found = cloud.of(spec["owner"], "network").network.create_network(name=spec["name"])
    return {"id": found.id}


def _make_subnet(cloud: Cloud, spec: Spec) -> Notes:
    found = _find_subnet(cloud, spec)
    if found is None:
        inside = _find_network(cloud, {**spec, "name": spec["network"]})
        if inside is None:
            raise Wrong(f"there is no network {spec['network']}")
        network = cloud.of(spec["owner"], "network").network
        found = network.create_subnet(name=spec["name"], network_id=inside.id, cidr=spec["range"], ip_version=4)
    return {"id": found.id}


def _make_router(cloud: Cloud, spec: Spec) -> Notes:
    network = cloud.of(spec["owner"], "network").network
    found = _find_router(cloud, spec)
    if found is None:
        gateway = network.find_network("public") if spec.get("gateway") else None
        outside = {"external_gateway_info": {"network_id": gateway.id}} if gateway is not None else {}
        found = network.create_router(name=spec["name"], **outside)
        for subnet in spec.get("subnet", ()):
            inside = _find_subnet(cloud, {**spec, "name": subnet})
            if inside is not None:
                network.add_interface_to_router(found, subnet_id=inside.id)
    return {"id": found.id}


def _remove_router(cloud: Cloud, spec: Spec) -> None:
    network = cloud.of(spec["owner"], "network").network
    found = _find_router(cloud, spec)
    if found is not None:
        for subnet in spec.get("subnet", ()):
            inside = _find_subnet(cloud, {**spec, "name": subnet})
            if inside is not None:
                network.remove_interface_from_router(found, subnet_id=inside.id)
        _remove_bare_router(cloud, spec)


def _look_by(find: Callable[[Cloud, Spec], Any], what: str) -> Callable[[Cloud, Spec, Notes], None]:
    def look(cloud: Cloud, spec: Spec, notes: Notes) -> None:
        _same(find(cloud, spec), notes, what)

    return look


def _find_volume(cloud: Cloud, spec: Spec) -> Any:
    return next(iter(cloud.of(spec["owner"], "block-storage").block_storage.volumes(name=spec["name"])), None)


def _make_volume(cloud: Cloud, spec: Spec) -> Notes:
    found = _find_volume(cloud, spec)
    if found is None:
        storage = cloud.of(spec["owner"], "block-storage").block_storage
        found = storage.create_volume(name=spec["name"], size=int(spec["gb"]))
        storage.wait_for_status(found, "available", ["error"], 2, READY)
    return {"id": found.id}


def _remove_volume(cloud: Cloud, spec: Spec) -> None:
    found = _find_volume(cloud, spec)
    if found is not None:
        storage = cloud.of(spec["owner"], "block-storage").block_storage
        storage.delete_volume(found)
        storage.wait_for_delete(found, 2, READY)


def _find_server(cloud: Cloud, spec: Spec) -> Any:
    compute = cloud.of(spec["owner"], "compute").compute
    rows = compute.servers(details=True, name=f"^{spec['name']}$")
    return next((row for row in rows if row.name == spec["name"]), None)


def _make_server(cloud: Cloud, spec: Spec) -> Notes:
    connection = cloud.of(spec["owner"], "compute")
    found = _find_server(cloud, spec)
    if found is None:
        image = connection.image.find_image(spec["image"], ignore_missing=False).id if spec.get("image") else ""
        nets = [_find_network(cloud, {**spec, "name": name}) for name in spec.get("networks", ())]
        found = connection.compute.create_server(
            name=spec["name"],
            flavor_id=connection.compute.find_flavor(spec["flavor"], ignore_missing=False).id,
            image_id=image,
            networks=[{"uuid": net.id} for net in nets if net is not None] or "none",
        )
        found = connection.compute.wait_for_server(found, "ACTIVE", ["ERROR"], 1, READY)
    return {"id": found.id}


def _look_server(cloud: Cloud, spec: Spec, notes: Notes) -> None:
    found = _same(_find_server(cloud, spec), notes, "server")
    if found.status != "ACTIVE":
        raise Wrong(f"the server is {found.status}")


def _remove_server(cloud: Cloud, spec: Spec) -> None:
    found = _find_server(cloud, spec)
    if found is not None:
        compute = cloud.of(spec["owner"], "compute").compute
        compute.delete_server(found)
        compute.wait_for_delete(found, 1, READY)


def _make_object(cloud: Cloud, spec: Spec) -> Notes:
    storage = cloud.of(spec["owner"], "object-store").object_store
    storage.create_container(name=spec["container"])
    data = cloud.path(spec).read_bytes()
    storage.upload_object(spec["container"], spec["name"], data=data)
    return {"sha256": hashlib.sha256(data).hexdigest()}


def _look_object(cloud: Cloud, spec: Spec, notes: Notes) -> None:
    storage = cloud.of(spec["owner"], "object-store").object_store
    data = storage.download_object(spec["name"], container=spec["container"])
    if hashlib.sha256(data).hexdigest() != notes.get("sha256"):
        raise Wrong("the object's content is another")


def _remove_object(cloud: Cloud, spec: Spec) -> None:
    storage = cloud.of(spec["owner"], "object-store").object_store
    storage.delete_object(spec["name"], container=spec["container"], ignore_missing=True)
    storage.delete_container(spec["container"], ignore_missing=True)


KINDS: Mapping[str, Kind] = {
    "tenants": Kind(_make_tenant, _look_tenant, _remove_tenant),
    "users": Kind(_make_user, _look_user, _remove_user),
    "secgroups": Kind(_make_secgroup, _look_by(_find_secgroup, "security group"), _remove_secgroup),
    "images": Kind(_make_image, _look_image, _remove_image),
    "networks": Kind(_make_network, _look_by(_find_network, "network"), _remove_network),
    "subnets": Kind(_make_subnet, _look_by(_find_subnet, "subnet"), _remove_subnet),
    "routers": Kind(_make_router, _look_by(_find_router, "router"), _remove_router),
    "volumes": Kind(_make_volume, _look_by(_find_volume, "volume"), _remove_volume),
    "servers": Kind(_make_server, _look_server, _remove_server),
    "objects": Kind(_make_object, _look_object, _remove_object),
}
