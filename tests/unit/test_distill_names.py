"""Names of folders that training makes."""

from __future__ import annotations

import pytest
from swd_pack.swd_core.distill.names import check_name
from swd_pack.swd_core.errors import InputError


@pytest.mark.parametrize("name", ["a", "7", "my swd-lora_2.1", " led ", "console", "com10", "x" * 100])
def test_a_plain_name_is_kept_without_the_space_around_it(name: str) -> None:
    assert check_name(name, "lora_name") == name.strip()


@pytest.mark.parametrize("name", ["", " ", ".a", "-a", "a.", "con", "LPT1", "aux.txt", "a/b", "a\nb", "é", "x" * 101])
def test_what_is_no_folder_everywhere_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"^lora_name: this cannot be the name of a folder\."):
        check_name(name, "lora_name")


def test_a_long_name_is_cut_in_a_message() -> None:
    with pytest.raises(InputError, match=rf"\nFound: '{'x' * 120}'\n"):
        check_name("x" * 200, "lora_name")
