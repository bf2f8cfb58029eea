"""A computer that has no room left is told of as that, in one sentence."""

from __future__ import annotations

import errno
import os
import tempfile

import pytest

from tests.cli.conftest import Cli
from tests.cli.test_bad_input import assert_refused


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS])
def test_a_disk_that_takes_nothing_is_no_bug(cli: Cli, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """Full, read-only, beyond a limit of file sizes; nor the lack of a folder for temporary files."""

    def fails(*_: object, **named: object) -> None:
        raise OSError(code, os.strerror(code))

    def has_none() -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp', '/var/tmp']")

    monkeypatch.setattr(tempfile, "TemporaryDirectory", fails)
    assert_refused(cli("demo"), os.strerror(code))
    monkeypatch.undo()
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_get_default_tempdir", has_none)
    assert_refused(cli("demo"), "no folder for temporary files")
