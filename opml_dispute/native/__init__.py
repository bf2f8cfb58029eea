"""The C of the project: the engine (host) and the guest (inside the VM); `build` makes both."""
