"""
The native library as Python sees it; nothing else calls C.

`lib` finds and loads it, `hashing` hashes, `vm` runs the fault proof VM, `inference` runs programs natively.
"""
