"""The OP Stack's own programs on our games: what `scripts/op-challenger` runs, watches and records."""
