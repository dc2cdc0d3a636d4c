"""Language models over HTTP: our own format, OpenAI's wire format, and SQL from words."""
