"""The agent: its configuration, its memory, and whole games that it plays unattended on a local chain."""
