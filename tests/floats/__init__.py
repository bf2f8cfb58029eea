"""
Floating point, checked by oracles that do not depend on any processor.

`exact` has each operation as fractions, one result at a time; `vector` has them as integer arithmetic over whole
arrays, for millions; `operations` lists them beside what engine and contract call them; `operands` makes numbers that
are hard to round. `campaign` runs all of it for as many operands as wanted: `scripts/fuzz-floats`.
"""
