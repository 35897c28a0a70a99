"""The ledger as people build it on PostgreSQL: its tables, and the one statement of an add."""

from typing import Final

SCHEMA: Final = """
CREATE TABLE transactions (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id text NOT NULL,
    key text,
    amount_micros bigint NOT NULL CHECK (amount_micros > 0),
    at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX transactions_once ON transactions (user_id, key) WHERE key IS NOT NULL;
CREATE INDEX transactions_newest ON transactions (user_id, id DESC);
-- Room on each page, so that an update stays on it and touches no index.
CREATE TABLE balances (
    user_id text PRIMARY KEY,
    balance_micros bigint NOT NULL
) WITH (fillfactor = 50);
"""

# One round trip, one statement: it counts once, and history and balance agree.
ADD: Final = """
WITH added AS (
    INSERT INTO transactions (user_id, key, amount_micros) VALUES ({user}, {key}, {amount})
    ON CONFLICT (user_id, key) WHERE key IS NOT NULL DO NOTHING
    RETURNING user_id, amount_micros
)
INSERT INTO balances AS b (user_id, balance_micros) SELECT user_id, amount_micros FROM added
ON CONFLICT (user_id) DO UPDATE SET balance_micros = b.balance_micros + excluded.balance_micros
RETURNING balance_micros
"""

# Many rows in one statement, and no balance kept: the least that PostgreSQL can do. The server
# makes the rows itself, so that it spends nothing on receiving them.
INSERT_MANY: Final = """
INSERT INTO transactions (user_id, key, amount_micros)
SELECT 'user-' || lpad(floor(random() * {users})::text, 7, '0'), {run}::text || '-' || row, 12500000
FROM generate_series(1, {rows}) AS row
ON CONFLICT (user_id, key) WHERE key IS NOT NULL DO NOTHING
"""

# The same, and the balances. Sorted, so that two at a time cannot wait for each other.
ADD_MANY: Final = (
    "WITH added AS ("
    + INSERT_MANY
    + """ RETURNING user_id, amount_micros)
INSERT INTO balances AS b (user_id, balance_micros)
SELECT user_id, sum(amount_micros) FROM added GROUP BY user_id ORDER BY user_id
ON CONFLICT (user_id) DO UPDATE SET balance_micros = b.balance_micros + excluded.balance_micros
"""
)

BALANCE: Final = "SELECT balance_micros FROM balances WHERE user_id = $1"

HISTORY: Final = """
SELECT amount_micros, at FROM transactions WHERE user_id = $1
ORDER BY id DESC LIMIT 10 OFFSET $2
"""

AMOUNT_OF_KEY: Final = "SELECT amount_micros FROM transactions WHERE user_id = $1 AND key = $2"

FILL: Final = """
INSERT INTO transactions (user_id, key, amount_micros)
SELECT 'user-' || lpad(number::text, 7, '0'), md5(random()::text), 1 + (random() * 1e9)::bigint
FROM generate_series(1, {rounds}), generate_series(0, {users} - 1) AS number;
INSERT INTO balances SELECT user_id, sum(amount_micros) FROM transactions GROUP BY user_id;
"""
SETTLE: Final = ("VACUUM ANALYZE", "CHECKPOINT")
