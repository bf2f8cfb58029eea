"""Products and convolutions with what stands around them, and the shorter activations."""

from __future__ import annotations

from collections.abc import Sequence

from opml_dispute.model.builder import Builder
from opml_dispute.model.lower.convolution import conv
from opml_dispute.model.lower.elementwise import elu, gelu, hard_sigmoid, leaky_relu, softsign
from opml_dispute.model.lower.linear import gemm
from opml_dispute.model.lower.microsoft.within import expect_vector, expect_within
from opml_dispute.model.lower.registry import MICROSOFT, lowers
from opml_dispute.model.opcodes import Unary
from opml_dispute.model.refusals import Refuse
from opml_dispute.model.tensor import Shape, Tensor


@lowers("Gelu", domain=MICROSOFT, in_f32=True, like=0)
def exact_gelu(g: Builder, x: Tensor) -> Tensor:
    return gelu(g, x)


@lowers("BiasGelu", domain=MICROSOFT, in_f32=True, like=0)
def bias_gelu(g: Builder, x: Tensor, bias: Tensor) -> Tensor:
    expect_vector(bias, x.shape[-1] if x.rank else 0, "a bias")
    return gelu(g, g.add(x, bias))


@lowers("FastGelu", domain=MICROSOFT, in_f32=True, like=0)
def fast_gelu(g: Builder, x: Tensor, bias: Tensor | None = None) -> Tensor:
    """Gelu by tanh, of x + bias."""
    expect_vector(bias, x.shape[-1] if x.rank else 0, "a bias")
    return gelu(g, x if bias is None else g.add(x, bias), approximate="tanh")


@lowers("QuickGelu", domain=MICROSOFT, in_f32=True, like=0)
def quick_gelu(g: Builder, x: Tensor, *, alpha: float = 1.702) -> Tensor:
    """x * sigmoid(alpha * x)."""
    return g.mul(x, g.sigmoid(g.mul(x, alpha) if alpha != 1 else x))


@lowers("BiasSoftmax", domain=MICROSOFT, in_f32=True, like=0)
def bias_softmax(g: Builder, x: Tensor, bias: Tensor, *, axis: int = 1, is_inner_broadcast: int) -> Tensor:
    """Softmax of x + bias over all dimensions from `axis` on; an outer broadcast repeats the bias in front of them."""
    along = g.axis(x, axis)
    if not is_inner_broadcast:
        if bias.rank > x.rank:
            raise Refuse(f"a bias {list(bias.shape)} for {list(x.shape)}")
        bias = bias.broadcast((*x.shape[: x.rank - bias.rank], *bias.shape))
    expect_within(bias, x.shape, "a bias")
    return g.softmax(g.add(x, bias), tuple(range(along, x.rank)))


_PARAMETERS: dict[str, tuple[float | None, ...]] = {
    "HardSigmoid": (0.2, 0.5), "Clip": (None, None), "LeakyRelu": (0.01,), "Elu": (1.0,),
}  # fmt: skip
"""Of activations that have any: the defaults of alpha and beta; None where there is none."""


def activated(g: Builder, x: Tensor, name: str, parameters: Sequence[float | None]) -> Tensor:
    """
    An activation by its operator's name, "" for none; `parameters` are alpha, then beta, None where one is left out.

    Raises `Refuse` for parameters that the activation does not have.
    """
    defaults = _PARAMETERS.get(name, ())
    if any(parameter is not None for parameter in parameters[len(defaults) :]):
        raise Refuse(f"more parameters than the {len(defaults)} that the activation {name!r} has")
    given = (*parameters, *(None,) * len(defaults))
    numbers = [default if own is None else own for own, default in zip(given, defaults, strict=False)]
    values = [number for number in numbers if number is not None]
    if len(values) < len(defaults):
        raise Refuse(f"{len(values)} parameters of the activation {name!r}; expected {len(defaults)}")
    if name == "HardSigmoid":
        return hard_sigmoid(g, x, alpha=values[0], beta=values[1])
    if name == "Clip":
        return g.clipped(x, values[0], values[1])
    if name == "LeakyRelu":
        return leaky_relu(g, x, alpha=values[0])
    if name == "Elu":
        return elu(g, x, alpha=values[0])
    if name == "Softsign":
        return softsign(g, x)
    if not name:
        return x
    functions = {
        "Relu": Unary.RELU, "Tanh": Unary.TANH, "Sigmoid": Unary.SIGMOID, "Softplus": Unary.SOFTPLUS,
    }  # fmt: skip
    if name in functions:
        return g.unary(functions[name], x)
    expected = ", ".join(("HardSigmoid", "Clip", "LeakyRelu", "Elu", "Softsign", *functions))
    raise Refuse(f"activation {name!r}; expected one of {expected}")


@lowers("FusedGemm", domain=MICROSOFT, in_f32=True, like=0)
def fused_gemm(
    g: Builder,
    a: Tensor,
    b: Tensor,
    c: Tensor | None = None,
    *,
    activation: str = "",
    activation_alpha: float | None = None,
    activation_beta: float | None = None,
    activation_gamma: float | None = None,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,
    transB: int = 0,
) -> Tensor:
    y = gemm(g, a, b, c, alpha=alpha, beta=beta, transA=transA, transB=transB)
    return activated(g, y, activation, (activation_alpha, activation_beta, activation_gamma))


@lowers("FusedMatMul", "TransposeMatMul", domain=MICROSOFT, in_f32=True, like=0)
def fused_matmul(
    g: Builder,
    a: Tensor,
    b: Tensor,
    *,
    alpha: float = 1.0,
    transA: int = 0,
    transB: int = 0,
    transBatchA: int = 0,
    transBatchB: int = 0,
) -> Tensor:
    """alpha * A' B'. With transBatch, a factor's first dimension is its matrices' first one, behind the batches."""
    product = g.matmul(_turned(a, transA, transBatchA), _turned(b, transB, transBatchB))
    return product if alpha == 1 else g.mul(product, alpha)


def _turned(x: Tensor, trans: int, trans_batch: int) -> Tensor:
    if x.rank < 2:
        return x
    if trans_batch:
        x = x.transposed((*range(1, x.rank - 1), 0, x.rank - 1))
    return x.transposed((*range(x.rank - 2), x.rank - 1, x.rank - 2)) if trans else x


@lowers("FusedConv", domain=MICROSOFT, in_f32=True, like=0)
def fused_conv(
    g: Builder,
    x: Tensor,
    w: Tensor,
    bias: Tensor | None = None,
    z: Tensor | None = None,
    *,
    activation: str = "",
    activation_params: tuple[float, ...] = (),
    auto_pad: str = "NOTSET",
    dilations: Shape | None = None,
    group: int = 1,
    kernel_shape: Shape | None = None,
    pads: Shape | None = None,
    strides: Shape | None = None,
) -> Tensor:
    """Conv, plus z, through an activation."""
    y = conv(
        g, x, w, bias, auto_pad=auto_pad, dilations=dilations, group=group, kernel_shape=kernel_shape, pads=pads,
        strides=strides,
    )  # fmt: skip
    if z is not None and z.shape != y.shape:
        raise Refuse(f"a tensor {list(z.shape)} added to {list(y.shape)}")
    y = y if z is None else g.add(y, z)
    return activated(g, y, activation, activation_params)


@lowers("NhwcConv", domain=MICROSOFT, in_f32=True, like=0)
def nhwc_conv(
    g: Builder,
    x: Tensor,
    w: Tensor,
    bias: Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Shape | None = None,
    group: int = 1,
    kernel_shape: Shape | None = None,
    pads: Shape | None = None,
    strides: Shape | None = None,
) -> Tensor:
    """Conv of x[N][spatial][C] by w[M][spatial][C/group]."""
    y = conv(
        g, channels_first(x), channels_first(w), bias, auto_pad=auto_pad, dilations=dilations, group=group,
        kernel_shape=kernel_shape, pads=pads, strides=strides,
    )  # fmt: skip
    return channels_last(y)


def channels_first(x: Tensor) -> Tensor:
    """[N][spatial][C] -> [N][C][spatial]."""
    Builder.expect_rank(x, 2, None, "a tensor whose channels are last")
    return x.transposed((0, x.rank - 1, *range(1, x.rank - 1)))


def channels_last(x: Tensor) -> Tensor:
    """[N][C][spatial] -> [N][spatial][C]."""
    return x.transposed((0, *range(2, x.rank), 1))
