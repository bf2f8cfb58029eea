"""
Models and inputs that others have to offer: fetched within limits, kept by content, published for others.

`addresses` says which computers may be asked, `exchange` makes one HTTP exchange, `fetching` follows a URI to a file,
`store` keeps what was fetched, and `publishing` puts a file where others can fetch it. What a file must be is known by
its root: whoever asks checks that (`operator.model_store`), so nothing here has to be believed.
"""
