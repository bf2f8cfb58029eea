"""
The fault proof VM in Python: encodings of states and proofs, program and state files, and instructions as text.

`state` encodes and hashes states and threads, `witness` takes a step's proof apart, `elf` makes the absolute prestate,
`statefile` saves machines, `disassemble` writes instructions as text. `explain` describes steps and differences.
Programs are run by the engine (`engine.vm`).
"""
