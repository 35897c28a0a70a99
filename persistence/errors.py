"""What goes wrong with a data directory. Faults of the ledger itself are `ledger_actors.errors`."""


class StoreError(Exception):
    """The data directory cannot be used as asked."""


class StoreInUse(StoreError):
    """Another process serves this data directory."""


class StoreNotFound(StoreError):
    """There is no store in this directory."""


class StoreMismatch(StoreError):
    """The store is there, but it is not as asked for."""


class DiskFull(StoreError):
    """The file system has no room to reserve."""
