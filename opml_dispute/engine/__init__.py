"""
The native library as Python sees it; nothing else calls C.

`lib` finds and loads it, `hashing` hashes, `elf` reads programs, `vm` runs the fault proof VM (what that takes and
answers is in `values`), `inference` runs models natively.
"""
