"""The engine beside the VM: inferences and their schedules."""
