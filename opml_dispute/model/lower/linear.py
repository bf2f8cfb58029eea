"""Linear algebra: matrix products, Einsum, determinants."""

from __future__ import annotations

from math import prod

from opml_dispute.model.builder import Builder
from opml_dispute.model.lower.exact import truncated_sum
from opml_dispute.model.lower.integers import product_of_dequantised
from opml_dispute.model.lower.registry import lowers
from opml_dispute.model.opcodes import DType
from opml_dispute.model.refusals import Refuse
from opml_dispute.model.tensor import Tensor, broadcast_shapes


@lowers("MatMul")
def matmul(g: Builder, a: Tensor, b: Tensor) -> Tensor:
    product = product_of_dequantised(g, a, b)
    return g.matmul(a, b) if product is None else product


@lowers("Gemm", in_f32=True)
def gemm(
    g: Builder,
    a: Tensor,
    b: Tensor,
    c: Tensor | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,
    transB: int = 0,
    broadcast: int = 1,
) -> Tensor:
    """alpha * A' * B' + beta * C; A' and B' are views, and a C that is not scaled rides along as the bias."""
    if a.rank != 2 or b.rank != 2:
        raise Refuse(f"factors of shapes {list(a.shape)} and {list(b.shape)}; expected two matrices")
    a = a.transposed((1, 0)) if transA else a
    b = b.transposed((1, 0)) if transB else b
    if c is not None and broadcast_shapes(c.shape, (a.shape[0], b.shape[1])) != (a.shape[0], b.shape[1]):
        raise Refuse(f"a bias {list(c.shape)} of a product {[a.shape[0], b.shape[1]]}")
    product = product_of_dequantised(g, a, b)
    if alpha == 1 and beta == 1 and product is None:
        return g.matmul(a, b, c)
    product = g.matmul(a, b) if product is None else product
    if a.dtype.is_integer:
        terms = [(product, alpha)]
        if c is not None and beta != 0:
            terms.append((c.broadcast(product.shape), beta))
        return truncated_sum(g, terms, 0.0, a.dtype)
    if alpha != 1:
        product = g.mul(product, alpha)
    if c is None or beta == 0:
        return product
    return g.add(product, g.mul(c, beta) if beta != 1 else c)


@lowers("Einsum", in_f32=True)
def einsum(g: Builder, *xs: Tensor, equation: str) -> Tensor:
    """Sums of products over the letters that the result does not name, two factors at a time from the left."""
    terms, result = _parsed(equation, [x.rank for x in xs])
    sizes: dict[str, int] = {}
    operands = []
    for x, letters in zip(xs, terms, strict=True):
        x, letters = _diagonal(x, letters)
        for letter, size in zip(letters, x.shape, strict=True):
            if sizes.setdefault(letter, size) != size:
                if 1 not in (size, sizes[letter]):
                    raise Refuse(f"letter {letter!r} stands for {sizes[letter]} and for {size} in {equation!r}")
                sizes[letter] = max(size, sizes[letter])
        operands.append((x, letters))
    operands = [(x.broadcast(tuple(sizes[c] for c in letters)), letters) for x, letters in operands]
    x, letters = operands[0]
    for i, (y, y_letters) in enumerate(operands[1:], 2):
        later = set(result).union(*(names for _, names in operands[i:]))
        x, letters = _multiplied(g, x, letters, y, y_letters, later)
    summed = [d for d, c in enumerate(letters) if c not in result]
    if summed:
        x = g.reduce_sum(x, summed, keepdims=False)
        letters = "".join(c for c in letters if c in result)
    return x.transposed([letters.index(c) for c in result])


def _parsed(equation: str, ranks: list[int]) -> tuple[list[str], str]:
    """One letter a dimension for each operand and the result; dimensions under an ellipsis get capitals' successors."""
    text = equation.replace(" ", "")
    left, arrow, right = text.partition("->")
    given = left.split(",")
    if len(given) != len(ranks):
        raise Refuse(f"{len(ranks)} operands for {equation!r}")
    hidden = max((rank - len(term.replace("...", "")) for term, rank in zip(given, ranks, strict=True)), default=0)
    names = "".join(chr(0x100 + i) for i in range(max(hidden, 0)))
    terms = []
    for term, rank in zip(given, ranks, strict=True):
        missing = rank - len(term.replace("...", ""))
        if missing < 0 or (missing and "..." not in term):
            raise Refuse(f"an operand with {rank} dimensions for {term!r} in {equation!r}")
        terms.append(term.replace("...", names[len(names) - missing :]))
    if arrow:
        return terms, right.replace("...", names)
    letters = "".join(terms).replace(names, "") if names else "".join(terms)
    return terms, names + "".join(sorted(c for c in set(letters) - set(names) if letters.count(c) == 1))


def _diagonal(x: Tensor, letters: str) -> tuple[Tensor, str]:
    """A letter that stands twice walks both dimensions at once."""
    for c in letters:
        while letters.count(c) > 1:
            first, second = letters.index(c), letters.rindex(c)
            if x.shape[first] != x.shape[second]:
                raise Refuse(f"letter {c!r} stands for {x.shape[first]} and for {x.shape[second]}")
            stride = x.strides[first] + x.strides[second]
            x = Tensor(
                x.buffer,
                x.shape[:second] + x.shape[second + 1 :],
                tuple(stride if d == first else s for d, s in enumerate(x.strides) if d != second),
                x.offset,
            )
            letters = letters[:second] + letters[second + 1 :]
    return x, letters


def _multiplied(
    g: Builder, x: Tensor, x_letters: str, y: Tensor, y_letters: str, later: set[str]
) -> tuple[Tensor, str]:
    """The product of two factors, summed over the letters that nothing later names."""
    both = [c for c in x_letters if c in y_letters]
    batch, inner = [c for c in both if c in later], [c for c in both if c not in later]
    rows, columns = [c for c in x_letters if c not in both], [c for c in y_letters if c not in both]
    size = {**dict(zip(x_letters, x.shape, strict=True)), **dict(zip(y_letters, y.shape, strict=True))}

    def matrix(t: Tensor, letters: str, first: list[str], second: list[str]) -> Tensor:
        moved = t.transposed([letters.index(c) for c in (*batch, *first, *second)])
        shape = (*(size[c] for c in batch), prod(size[c] for c in first), prod(size[c] for c in second))
        return g.reshape(moved, shape)

    product = g.contract(matrix(x, x_letters, rows, inner), matrix(y, y_letters, inner, columns))
    named = [*batch, *rows, *columns]
    return g.reshape(product, tuple(size[c] for c in named)), "".join(named)


@lowers("Det", in_f32=True)
def det(g: Builder, x: Tensor) -> Tensor:
    """The determinant of the last two dimensions, by expansion along the first row."""
    n = x.shape[-1] if x.rank else 0
    if x.rank < 2 or x.shape[-2] != n:
        raise Refuse(f"matrices {list(x.shape)}; expected square ones")
    if n > 6:
        raise Refuse(f"matrices of {n} rows; expected at most 6, since it is written out")
    if n == 0:
        return g.filled(x.shape[:-2], 1, DType.F32)

    def minor(row: int, columns: tuple[int, ...]) -> Tensor:
        first = x.picked(x.rank - 2, row)
        if len(columns) == 1:
            return first.picked(first.rank - 1, columns[0])
        total: Tensor | None = None
        for i, column in enumerate(columns):
            rest = minor(row + 1, columns[:i] + columns[i + 1 :])
            term = g.mul(first.picked(first.rank - 1, column), rest)
            total = term if total is None else g.sub(total, term) if i % 2 else g.add(total, term)
        assert total is not None
        return total

    return minor(0, tuple(range(n)))
