"""Language models over HTTP: our own form, OpenAI's wire format, and SQL from words."""
