-- Of the prompt, tokens that the upstream had in its cache; and whether the tokens are an estimate.
ALTER TABLE ledger ADD COLUMN cached_prompt_tokens INTEGER NOT NULL DEFAULT 0;
ALTER TABLE ledger ADD COLUMN estimated INTEGER NOT NULL DEFAULT 0;
