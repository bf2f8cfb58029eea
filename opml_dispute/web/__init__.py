"""
What a browser shows: a deployment, its requests and its games, as pages that a local server renders.

`server` answers a browser, `saving` writes a game into one file; both show what `pages` gathers. Games are read by
`feed` and judged by `judging` in a thread of its own; `claim_map`, `claim_list`, `graph_view` and `tensor_view` say how
claims, nodes and tensors look. Nothing here signs or sends, and no text from a chain is trusted: `rendering` escapes
it.
"""
