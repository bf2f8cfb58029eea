"""
Language models: a whole answer, from prompt to end token, as one program in one dispute.

`gguf_model` and `huggingface` read the files that people have into a `Checkpoint`; `decoder` emits its layers;
`answer` is the loop around them, prompt in and tokens out, which knows nothing of layers; `unroll` repeats its steps;
`tokenizer` and `chat` stand between text and tokens. docs/language-models.md describes the result.
"""
