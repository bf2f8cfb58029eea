"""
Studies that are not one scenario: arithmetic, models of other games, comparisons. Each module has `report()`, its
document.

`STUDIES` lists them by the name of their report. `scripts/studies` writes them, and those of all scenario files, to
docs/reports.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from opml_dispute.simulation.document import Block
from opml_dispute.simulation.studies import attention_tests, bonds, layer_two, loading, sybils, validation

STUDIES: Mapping[str, Callable[[], list[Block]]] = MappingProxyType(
    {
        "bonds": bonds.report,
        "validation": validation.report,
        "sybils-side-by-side": sybils.report,
        "attention-tests": attention_tests.report,
        "one-root-or-all-bytes": loading.report,
        "on-a-rollup": layer_two.report,
    }
)
"""Name of the report -> its document."""
