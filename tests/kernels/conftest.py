"""One bench for all kernel tests."""

from __future__ import annotations

import pytest

from tests.kernels.bench import Bench


@pytest.fixture(scope="session")
def bench() -> Bench:
    return Bench()
