"""Names that users give to what is written to disk."""

from __future__ import annotations

import re

from ..errors import InputError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,99}")
# Names that Windows keeps for devices, whatever their ending.
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def check_name(name: str, what: str) -> str:
    """A name that is one folder and nothing else, on every system.

    Raises:
        InputError: separators, leading dots, control characters, names of devices, or nothing at all.
    """
    plain = name.strip()
    if not _NAME.fullmatch(plain) or plain.endswith(".") or _DEVICES.fullmatch(plain):
        raise InputError(
            f"{what}: this cannot be the name of a folder.",
            found=repr(name[:120]),
            allowed="letters a to z, digits, spaces, dots, dashes and underscores, up to 100, a letter or digit first",
            remedy="choose another name.",
        )
    return plain
