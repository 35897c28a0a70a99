"""What goes wrong with a data directory. Faults of the ledger itself are `ledger_actors.errors`."""


class StoreError(Exception):
    """The data directory cannot be used as asked."""


class StoreInUse(StoreError):
    """Another process serves this data directory."""


class StoreNotFound(StoreError):
    """There is no store in this directory."""


class StoreMismatch(StoreError):
    """The store is there, but it is not as asked for."""


class StoreOutdated(StoreMismatch):
    """The store is of an older format version: `persistence.migration` brings it up to date."""


class BackupDamaged(StoreError):
    """A backup is not what was written, or a part of it is missing."""


class DiskFull(StoreError):
    """The file system has no room to reserve."""
