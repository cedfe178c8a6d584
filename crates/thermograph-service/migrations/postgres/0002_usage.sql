-- Of the prompt, tokens that the upstream had in its cache; and whether the tokens are an estimate.
ALTER TABLE ledger ADD COLUMN cached_prompt_tokens BIGINT NOT NULL DEFAULT 0;
ALTER TABLE ledger ADD COLUMN estimated BOOLEAN NOT NULL DEFAULT false;
