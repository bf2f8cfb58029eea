"""Parts of outputs: for every place and size, what the tree itself says."""

from __future__ import annotations

import random

from opml_dispute.engine.merkle import SparseTree
from opml_dispute.engine.output_part import output_part
from opml_dispute.engine.segment import OUTPUT, section_root
from opml_dispute.engine.vm import Block


def test_every_part_has_the_trees_own_proof() -> None:
    chance = random.Random(8)
    for size in [*range(1, 70), 1_000, 4_095, 4_096, 4_097]:
        image = chance.randbytes(size)
        tree = SparseTree(OUTPUT.log2_size, [Block(0, max(5, (size - 1).bit_length()), image)])
        for _ in range(6):
            begin = chance.randrange(size)
            wanted = chance.randint(1, size - begin)
            part = output_part(image, begin, wanted)
            assert part.root == section_root(image, OUTPUT) == tree.root
            assert part.siblings == tree.proof(part.offset, part.log2_size)
            assert part.offset <= begin
            assert begin + wanted <= part.offset + (1 << part.log2_size)
            assert part.content == image[part.offset : part.offset + (1 << part.log2_size)]
            if part.log2_size > 5:  # no smaller subtree holds it
                half = 1 << (part.log2_size - 1)
                assert begin // half != (begin + wanted - 1) // half
