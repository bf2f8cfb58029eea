"""
Right claims, computed by workers: processes of this computer, or actors of a Ray cluster.

`messages` is what is asked and answered, `bench` answers it with loaded models and VM snapshots, `workers` says what a
worker is and runs one as a process, `cluster` one as an actor; `fleet` shares cases out among workers and asks again
where one dies. `remote` is the trace that a player believes in. Keys and decisions stay with who asks.
"""
