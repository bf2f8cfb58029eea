"""
Right claims, computed by workers: processes of this computer, or actors of a Ray cluster.

`messages` is what is asked and answered, `case_server` answers it with loaded models and VM snapshots, `workers` says
what a worker is and runs one as a process, `cluster` one as an actor; `worker_pool` shares cases out among workers and
asks again where one dies. `remote` is the trace that an honest player uses. Keys and decisions stay with the process
that asks.
"""
