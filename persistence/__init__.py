"""The ledger's ports on disk: write-ahead log, snapshot store, snapshotter, backup, verify."""
