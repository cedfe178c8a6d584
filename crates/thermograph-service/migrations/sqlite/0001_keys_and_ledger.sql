-- Keys of the API. Times are milliseconds since 1970.
CREATE TABLE api_keys (
    id TEXT NOT NULL PRIMARY KEY,
    -- SHA-256 of the key, in hexadecimal digits.
    hash TEXT NOT NULL UNIQUE,
    -- The first characters of the key, so that people tell keys apart.
    prefix TEXT NOT NULL,
    name TEXT NOT NULL,
    -- Names with commas between them.
    scopes TEXT NOT NULL,
    -- A list in JSON; none: all models.
    models TEXT,
    requests_per_minute INTEGER,
    tokens_per_minute INTEGER,
    monthly_tokens INTEGER,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    revoked_at INTEGER,
    rotated_from TEXT
) STRICT;

-- Goes up with every change of a key: caches look at it.
CREATE TABLE key_changes (
    one INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    generation INTEGER NOT NULL
) STRICT;
INSERT INTO key_changes (one, generation) VALUES (1, 0);

CREATE TRIGGER api_keys_inserted AFTER INSERT ON api_keys
BEGIN UPDATE key_changes SET generation = generation + 1; END;
CREATE TRIGGER api_keys_updated AFTER UPDATE ON api_keys
BEGIN UPDATE key_changes SET generation = generation + 1; END;
CREATE TRIGGER api_keys_deleted AFTER DELETE ON api_keys
BEGIN UPDATE key_changes SET generation = generation + 1; END;

-- A row for each request, in the order of time. The id is made with it: a row that is written twice
-- is there once.
CREATE TABLE ledger (
    id TEXT NOT NULL,
    at INTEGER NOT NULL,
    key_id TEXT,
    model TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    status INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    cached INTEGER NOT NULL,
    streamed INTEGER NOT NULL,
    duration_us INTEGER NOT NULL,
    upstream TEXT,
    request_id TEXT NOT NULL,
    PRIMARY KEY (at, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX ledger_key_at ON ledger (key_id, at) WHERE key_id IS NOT NULL;
