"""
The explorer: a deployment, its requests and its games as pages that a local server renders.

`server` answers a browser, `saving` writes a game into one file; both render the facts that `pages` gathers. `feed`
reads games and `judging` judges them in a thread of its own; `claim_map`, `claim_list`, `graph_view` and `tensor_view`
draw claims, nodes and tensors. No module here signs or sends, and text from a chain is untrusted: `rendering` escapes
it.
"""
