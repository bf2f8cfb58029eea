"""Views walk their buffer as numpy's do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opml_dispute.model.builder import Builder
from opml_dispute.model.refusals import Refuse
from opml_dispute.model.tensor import Array, Tensor, broadcast_shapes, merged, row_major

SHAPES = st.lists(st.integers(0, 4), max_size=4).map(tuple)


@st.composite
def views(draw: st.DrawFn) -> tuple[Tensor, Array]:
    """A constant, looked at through a few random views, and the same by numpy."""
    shape = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    array: Array = np.arange(int(np.prod(shape)), dtype=np.int32).reshape(shape)
    view = Builder().constant(array)
    for _ in range(draw(st.integers(0, 4))):
        axis = draw(st.integers(0, view.rank - 1))
        kind = draw(st.sampled_from(["transpose", "slice", "reverse", "insert", "broadcast"]))
        if kind == "transpose":
            order = draw(st.permutations(range(view.rank)))
            view, array = view.transposed(order), array.transpose(order)
        elif kind == "slice":
            start = draw(st.integers(0, view.shape[axis] - 1))
            step = draw(st.integers(1, 2))
            count = len(range(start, view.shape[axis], step))
            view, array = (
                view.sliced(axis, start, count, step),
                array[(slice(None),) * axis + (slice(start, None, step),)],
            )
        elif kind == "reverse":
            view, array = view.sliced(axis, view.shape[axis] - 1, view.shape[axis], -1), np.flip(array, axis)
        elif kind == "insert":
            view, array = view.with_axis(axis), np.expand_dims(array, axis)
        else:
            wanted = (2, *view.shape)
            view, array = view.broadcast(wanted), np.broadcast_to(array, wanted)
    return view, array


@given(views())
def test_a_view_holds_what_numpys_view_holds(pair: tuple[Tensor, Array]) -> None:
    view, array = pair
    assert view.shape == array.shape
    assert np.array_equal(view.values(), array)


@given(views(), st.data())
def test_reshaping_gives_the_same_elements_or_says_that_it_must_copy(
    pair: tuple[Tensor, Array], data: st.DataObject
) -> None:
    view, array = pair
    size = view.size
    first = data.draw(st.sampled_from([d for d in range(1, size + 1) if size % d == 0]))
    shape = (first, size // first)
    made = view.reshaped(shape)
    if made is not None:
        assert np.array_equal(made.values(), array.reshape(shape))
    copied = Builder().reshape(view, shape)
    assert np.array_equal(copied.values(), array.reshape(shape))


@given(views())
def test_merging_dimensions_walks_the_same_elements(pair: tuple[Tensor, Array]) -> None:
    view, array = pair
    shape, (strides,) = merged(view.shape, view.strides)
    walked = Tensor(view.buffer, shape, strides, view.offset)
    assert np.array_equal(walked.values().reshape(-1), array.reshape(-1))
    assert all(size > 1 for size in shape)


@given(st.lists(SHAPES, min_size=1, max_size=3))
def test_shapes_broadcast_as_numpys_do(shapes: list[tuple[int, ...]]) -> None:
    try:
        expected = np.broadcast_shapes(*shapes)
    except ValueError:
        with pytest.raises(Refuse, match="do not broadcast"):
            broadcast_shapes(*shapes)
        return
    assert broadcast_shapes(*shapes) == expected


def test_row_major_strides_count_elements() -> None:
    assert row_major((2, 3, 4)) == (12, 4, 1)
    assert row_major(()) == ()


@pytest.mark.parametrize("axis", [2, -3])
def test_an_axis_that_is_not_there_is_an_error(axis: int) -> None:
    view = Builder().constant(np.zeros((2, 2), np.float32))
    with pytest.raises(Refuse, match="2 dimensions"):
        view.axis(axis)
