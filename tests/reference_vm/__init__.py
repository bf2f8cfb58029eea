"""
A third implementation of one step, written from docs/vm.md and nothing else: slow, plain, and in the page's own words.

It shows that the page is enough to write one, and is one more opinion for the fuzzers. Where the page leaves something
open, this is where that would show.
"""
