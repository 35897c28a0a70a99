"""The ledger itself: money, accounts, shard actors, and the ports they need from the world.

Start at `ledger.open_ledger`. Nothing is imported here: who needs an entry starts without a ledger.
"""
