"""Language models: one way to talk to those of Claude and of OpenAI, and SQL from words.

Nothing here knows HTTP resources, Flight or DuckDB. The providers' libraries take 60 MB of
memory, so they are imported with the first call that needs them and not before.
"""
