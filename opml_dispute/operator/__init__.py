"""
Whole actions of an operator, each from its inputs to its transactions.

`case` opens a request with its program and input, `model_store` keeps the files behind registered models and
`model_description` is what a registration says about one, `inference` requests, proposes and finalizes, `play` makes
the moves that a game needs and `settle` its resolutions, `intents` says what will be sent before it is, `inspection`
looks at a disputed claim. Modules here are imported by their absolute names: `operator` is a module of Python's too.
"""
