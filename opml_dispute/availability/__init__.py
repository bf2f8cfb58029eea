"""
Models and inputs of other operators: fetched within limits, kept by content, published for others.

`addresses` decides which computers may be contacted, `exchange` makes one HTTP exchange, `fetching` follows a URI to a
file, `store` keeps what was fetched, and `publishing` puts a file where others can fetch it. What a file must be is
known by its root: the caller checks that (`operator.model_store`), so nothing here has to be trusted.
"""
