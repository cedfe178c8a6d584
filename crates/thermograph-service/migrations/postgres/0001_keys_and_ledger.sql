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
    requests_per_minute BIGINT,
    tokens_per_minute BIGINT,
    monthly_tokens BIGINT,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    revoked_at BIGINT,
    rotated_from TEXT
);

-- Caches listen: they are told with the commit of whatever changes a key, whoever does it.
CREATE FUNCTION thermograph_key_changed() RETURNS trigger AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        PERFORM pg_notify('thermograph_keys', OLD.hash);
    ELSE
        PERFORM pg_notify('thermograph_keys', NEW.hash);
    END IF;
    RETURN NULL;
END;
$$ LANGUAGE plpgsql;
CREATE TRIGGER api_keys_changed AFTER INSERT OR UPDATE OR DELETE ON api_keys
FOR EACH ROW EXECUTE FUNCTION thermograph_key_changed();

-- A row for each request. The id is made with it: a row that is written twice is there once.
CREATE TABLE ledger (
    id UUID NOT NULL PRIMARY KEY,
    at BIGINT NOT NULL,
    key_id TEXT,
    model TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    status INTEGER NOT NULL,
    prompt_tokens BIGINT NOT NULL,
    completion_tokens BIGINT NOT NULL,
    cached BOOLEAN NOT NULL,
    streamed BOOLEAN NOT NULL,
    duration_us BIGINT NOT NULL,
    upstream TEXT,
    request_id TEXT NOT NULL
);
CREATE INDEX ledger_key_at ON ledger (key_id, at) WHERE key_id IS NOT NULL;
CREATE INDEX ledger_at ON ledger (at);
