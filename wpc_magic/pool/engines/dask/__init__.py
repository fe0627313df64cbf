"""The engine whose workers live on the workers of a Dask cluster.

::

    this process                          a machine of the cluster
    ┌──────────────────────────┐          ┌───────────────────────────────────────────────────┐
    │ Driver                   │          │ Dask worker                                       │
    │  │   DaskEngine          │  Dask's  │  Hold: a task for each slot, which takes a thread  │
    │  │    ├─ Places ─────────┼─ own ────┼─ Agent: a plugin                                  │
    │  │    └─ Host ───────────┼─ comm ───┼───┘  │ starts, and ends                          │
    │  │        │              │          │      v                                            │
    │  │        ├── events ────┼── TCP ───┼─ host process: starts worker processes, looks at  │
    │  v        └── blocks ────┼── TCP ───┼─ their pages, pipes and ends; keeps copies of     │
    │                          │          │  blocks, and lends them       │                   │
    │ RemoteProcess ── call, ──┼── TCP ───┼──────────> worker process <───┘                   │
    │                 control  │          │                                                   │
    └──────────────────────────┘          └───────────────────────────────────────────────────┘

A call touches no process of Dask, so that none delays it that is busy, or whose C code holds the GIL. That is
also why a process of ours starts the workers and looks after them, and not the agent itself: kills and
status pages would wait for whatever the tasks of others do in the Dask worker. Where only the ports of Dask
can be reached, the four connections are relayed over its comm (`relay.pump`).

On a cluster with TLS they are encrypted with the certificates that Dask uses: those of events and blocks
between the pool and the host process, and the channels between the pool and the worker process itself. Each
begins with what it is for, in plain, by which the host process knows whom to hand it to; then comes the
handshake.

Large arguments and constants travel once to each host (`copies`), where the host process keeps them in memory
(`kept_blocks`) and passes its descriptor to every worker that needs it; see `wire.far_sender`. A value that
the pool is to keep stays there, too (`far_values`): to a call on another host it goes over a connection
between the two agents (`Agent._carry`, `carriers`), and here if somebody asks for it.

The package travels to each host once, as an archive, so its versions always match.
"""
