"""Puts the laboratory's own service into a release's environment: only the code that this release has."""

from __future__ import annotations

import shutil
from pathlib import Path

from labkit.layers import digest
from labkit.places import SOURCE

CODE = SOURCE / "ledger/ledger"
COMMAND = """\
#!/opt/os/{release}/bin/python
from ledger.manage import main

raise SystemExit(main())
"""


def _files(release: str) -> list[Path]:
    """The package's files; changes of later releases are not there, as in any released package."""
    later = {f"r{name.replace('.', '_')}.py" for name in _releases() if name > release}
    return [path for path in sorted(CODE.rglob("*.py")) if path.name not in later]


def _releases() -> list[str]:
    """Releases that change the schema, by the names of their files."""
    return [path.stem.removeprefix("r").replace("_", ".") for path in sorted((CODE / "changes").glob("r*.py"))]


def identity(release: str) -> str:
    """Changes when what is installed would."""
    return digest(release, [(path.name, path.read_text()) for path in _files(release)])


def install(release: str, packages: Path, programs: Path) -> None:
    """Copy the package into ``site-packages``, name its release, and write the command ``ledger-manage``."""
    for path in _files(release):
        target = packages / "ledger" / path.relative_to(CODE)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    (packages / "ledger/release.py").write_text(f'RELEASE = "{release}"\n')
    command = programs / "ledger-manage"
    command.write_text(COMMAND.format(release=release))
    command.chmod(0o755)
