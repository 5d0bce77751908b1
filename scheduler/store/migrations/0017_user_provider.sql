-- Users whom an identity provider vouches for, by its issuer and its own name for them. They have no password that anybody knows.
ALTER TABLE user_account
    ADD COLUMN provider text,
    ADD COLUMN provider_subject text,
    ADD CONSTRAINT user_account_provider_whole CHECK ((provider IS NULL) = (provider_subject IS NULL)),
    ADD CONSTRAINT user_account_provider_key UNIQUE (provider, provider_subject);
