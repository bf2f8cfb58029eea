"""
An ONNX file becomes a program: see `compiler`.

The modules in the order in which a model passes through them: `onnx_file`, `importer` (with `lower`, which speaks to
`builder`, `emitter` and `tensor`), `plan` (with `tile` and `cost`), `program` (made of `record`s), `rules`.
"""
