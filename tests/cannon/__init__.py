"""The OP Stack's cannon commands on this engine, with a pre-image server in a process of its own."""
