"""
The fault proof VM as Python sees it: its encodings, written out; programs, instructions and vectors as files and text.

`state` encodes and hashes states and threads, `witness` takes a step's proof apart, `elf` makes the absolute prestate,
`statefile` saves machines, `disassemble` writes instructions as text. `vectors`, `case` and `fuzz` hold implementations
against each other. Running is the engine's work (`engine.vm`).
"""
