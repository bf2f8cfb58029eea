"""
Sliding windows: the attributes that convolution and pooling share, made explicit.

`windows` turns what ONNX leaves open (defaults, automatic padding, rounding up) into a `Windows`, which holds numbers
only; `Windows.body` is how a node record holds them.
"""

from __future__ import annotations

from dataclasses import dataclass

from opml_dispute.model.refusals import Refuse
from opml_dispute.model.tensor import Shape


@dataclass(frozen=True, slots=True)
class Windows:
    """Where a kernel's windows lie; one number per spatial dimension."""

    kernel: Shape
    strides: Shape
    dilations: Shape
    before: Shape
    """Padding before the first element."""
    after: Shape
    """Padding after the last element; negative where the last elements are in no window."""
    out: Shape
    """Windows along each dimension."""

    def body(self, spatial: Shape, n: int, c: int, m: int, groups: int) -> tuple[int, ...]:
        """The body of CONV and POOL records (docs/kernels.md). Raises `Refuse` beyond three dimensions."""
        rank = len(spatial)
        if not 1 <= rank <= 3:
            raise Refuse(f"{rank} spatial dimensions; expected 1 to 3")
        if min((*self.kernel, *self.strides, *self.dilations)) < 1:
            raise Refuse(
                f"kernel {self.kernel}, strides {self.strides}, dilations {self.dilations}; expected at least 1"
            )
        rows = (spatial, self.kernel, self.strides, self.dilations, self.before, self.out, self.behind)
        return (rank, n, c, m, groups, *(word for row in rows for word in (*row, *(0,) * (3 - rank))))

    @property
    def behind(self) -> Shape:
        """Padding behind the last element, 0 where there is none."""
        return tuple(max(0, size) for size in self.after)


def filled(rank: int, strides: Shape | None, dilations: Shape | None, pads: Shape | None) -> tuple[Shape, Shape, Shape]:
    """Strides, dilations and pads, those that are left out with ONNX's defaults; an empty list is not left out."""
    ones = (1,) * rank
    return (
        ones if strides is None else strides,
        ones if dilations is None else dilations,
        (0,) * (2 * rank) if pads is None else pads,
    )


def windows(
    spatial: Shape,
    kernel: Shape,
    *,
    strides: Shape | None,
    dilations: Shape | None,
    pads: Shape | None,
    auto_pad: str,
    ceil_mode: bool = False,
    cuts: bool = False,
) -> Windows:
    """
    The attributes of Conv and the pools, defaults filled in.

    Where windows lie further apart than they are long, automatic padding comes out negative: with `cuts` (the pools)
    it takes elements away from both ends, without (Conv) it is none. So do ONNX Runtime's.

    Raises `Refuse` if their lengths do not match the input's, or a window does not fit.
    """
    rank = len(spatial)
    strides, dilations, pads = filled(rank, strides, dilations, pads)
    if not len(kernel) == len(strides) == len(dilations) == rank or len(pads) != 2 * rank:
        raise Refuse(f"kernel {kernel}, strides {strides}, pads {pads} for an input of {rank} spatial dimensions")
    if min((*strides, *dilations, *kernel), default=1) < 1:
        raise Refuse(f"kernel {kernel}, strides {strides}, dilations {dilations}; expected positive numbers")
    if min(pads, default=0) < 0:
        raise Refuse(f"pads {pads}; expected no negative ones")
    before, after, out = [], [], []
    for d in range(rank):
        span = dilations[d] * (kernel[d] - 1) + 1
        begin, end = pads[d], pads[rank + d]
        if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
            count = -(-spatial[d] // strides[d])
            total = (count - 1) * strides[d] + span - spatial[d]
            total = total if cuts else max(total, 0)
            begin = int(total / 2) if auto_pad == "SAME_UPPER" else int((total + 1) / 2)
            end = total - begin
        elif auto_pad == "VALID":
            begin = end = 0
        elif auto_pad not in ("NOTSET", ""):
            raise Refuse(f"auto_pad {auto_pad!r}; expected NOTSET, SAME_UPPER, SAME_LOWER or VALID")
        room = spatial[d] + begin + end - span
        if room < 0:
            raise Refuse(f"a window of {span} over {spatial[d]} elements padded by {begin} and {end}")
        count = (-(-room // strides[d]) if ceil_mode else room // strides[d]) + 1
        if ceil_mode and (count - 1) * strides[d] >= spatial[d] + begin:
            count -= 1  # A window that starts in the padding behind the input is none.
        before.append(begin)
        after.append((count - 1) * strides[d] + span - spatial[d] - begin)
        out.append(count)
    return Windows(kernel, strides, dilations, tuple(before), tuple(after), tuple(out))
