"""``store`` of ``cluster.yaml``: where the cluster's records lie, when not in a file of the state directory."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from underway.config.fragment import Fragment
from underway.config.located import Document
from underway.config.names import Wrong
from underway.config.paths import inside
from underway.config.values import custom
from underway.errors import Problem
from underway_agent.kv.address import Access, AddressError

FILES = ("ca", "certificate", "key", "token_file", "password_file")
"""Keys that name files."""


class StoreFile(Fragment):
    """Where the cluster's records lie: in Consul or etcd, which several machines share."""

    url: str = Field(
        description="KIND://HOST[:PORT][,HOST[:PORT]...][/PREFIX]: consul or etcd, over HTTPS; with +http after "
        "the kind plain HTTP."
    )
    ca: str = Field(default="", description="File with who signs the servers' certificates. Absent: the system's.")
    certificate: str = Field(default="", description="File with our client certificate.")
    key: str = Field(default="", description="File with the key of our client certificate.")
    token_file: str = Field(default="", description="File with Consul's ACL token.")
    user: str = Field(default="", max_length=255, description="User of etcd.")
    password_file: str = Field(default="", description="File with the password of etcd's user.")
    insecure: bool = Field(default=False, description="Allow plain HTTP to other machines.")

    def access(self, files: dict[str, str] | None = None) -> Access:
        """As the drivers take it, with ``files`` in place of the paths written. Raises ``AddressError``."""
        at = {name: getattr(self, name) for name in FILES} | (files or {})
        return Access(
            self.url,
            ca=at["ca"],
            certificate=at["certificate"],
            key=at["key"],
            token=at["token_file"],
            user=self.user,
            password=at["password_file"],
            insecure=self.insecure,
        )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        try:
            self.access()
        except AddressError as error:
            raise custom(Wrong("store", str(error))) from None
        return self


def build_store(doc: Document, written: StoreFile | None, base: Path) -> tuple[Access | None, list[Problem]]:
    """The access with absolute paths, and what is wrong with these; secrets are not read."""
    if written is None:
        return None, []
    files: dict[str, str] = {}
    problems = []
    for name in FILES:
        text = getattr(written, name)
        found = inside(text, base, base) if text else text
        if isinstance(found, Wrong):
            problems.append(doc.problem(("store", name), *found))
        else:
            files[name] = str(found)
    return (None if problems else written.access(files)), problems
