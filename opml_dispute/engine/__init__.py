"""
The Python interface of the native library; no other package calls C.

`lib` finds and loads it, `hashing` hashes, `elf` reads programs, `vm` runs the fault proof VM (what that takes and
answers is in `values`), `inference` runs models natively.
"""
