"""The runner that stands beside us, as a wheel: it is carried to hosts from here, so both are of one version."""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import importlib.util
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

from underway.errors import Refused

PACKAGE = "underway_runner"
DISTRIBUTION = "underway-runner"


@dataclass(frozen=True, slots=True)
class Wheel:
    """``name``: its file name. ``requirements``: what the runner needs, as its own metadata says."""

    name: str
    version: str
    data: bytes
    requirements: tuple[str, ...]

    @property
    def digest(self) -> str:
        """SHA-256 of the bytes: the same files give the same wheel."""
        return hashlib.sha256(self.data).hexdigest()


def runner_wheel() -> Wheel:
    """Pack the installed runner. It is found, not imported. Raises Refused where there is none."""
    spec = importlib.util.find_spec(PACKAGE)
    try:
        distribution = importlib.metadata.distribution(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        distribution = None
    if spec is None or spec.origin is None or distribution is None:
        raise Refused(
            f"this environment has no {DISTRIBUTION} to put on hosts ('pip install {DISTRIBUTION}' here first)"
        )
    root = Path(spec.origin).parent
    info = f"{PACKAGE}-{distribution.version}.dist-info"
    files = {
        f"{PACKAGE}/{path.relative_to(root).as_posix()}": path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }
    files[f"{info}/METADATA"] = (distribution.read_text("METADATA") or "").encode()
    files[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: underway\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files[f"{info}/entry_points.txt"] = b"[console_scripts]\nunderway-runner = underway_runner.main:run\n"
    files[f"{info}/RECORD"] = _record(files, info)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, data)
    requirements = tuple(line for line in distribution.requires or () if ";" not in line)
    return Wheel(
        f"{PACKAGE}-{distribution.version}-py3-none-any.whl", distribution.version, packed.getvalue(), requirements
    )


def _record(files: dict[str, bytes], info: str) -> bytes:
    lines = []
    for name, data in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        lines.append(f"{name},sha256={digest},{len(data)}")
    return "\n".join([*lines, f"{info}/RECORD,,", ""]).encode()
