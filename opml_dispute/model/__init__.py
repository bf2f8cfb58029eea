"""
Compiling an ONNX file into a program: see `compiler`.

A model passes through these modules in this order: `onnx_file`, `importer` (with `lower`, which speaks to
`builder`, `emitter` and `tensor`), `plan` (with `tile` and `cost`), `program` (made of `record`s), `rules`.
"""
