"""Regions of one element width are found for all extents at once, as joining them one by one finds them."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from opml_dispute.engine.analysis import _united

Extent = tuple[int, int, int]


def joined(found: list[Extent]) -> list[Extent]:
    """Each extent joins those of its width that it meets, until none is left to join."""
    regions: list[Extent] = []
    for lo, hi, width in sorted(found):
        met = [r for r in regions if r[2] == width and r[1] >= lo]
        regions = [r for r in regions if r not in met]
        regions.append((min([lo] + [r[0] for r in met]), max([hi] + [r[1] for r in met]), width))
    return sorted(regions)


extents = st.tuples(st.integers(0, 60), st.integers(1, 12), st.sampled_from([1, 4, 8])).map(
    lambda part: (part[0], part[0] + part[1], part[2])
)


@settings(max_examples=300, deadline=None)
@given(st.lists(extents, max_size=20))
def test_extents_of_one_width_that_meet_are_one_region(found: list[Extent]) -> None:
    regions = _united(np.array(found, np.int64).reshape(-1, 3))
    assert [(int(lo), int(hi), int(width)) for lo, hi, width in regions] == joined(found)
