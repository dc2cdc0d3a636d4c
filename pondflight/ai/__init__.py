"""Language models: one interface to Claude and OpenAI models, and SQL from questions in words.

Nothing here knows HTTP resources, Flight or DuckDB. The providers' libraries take 60 MB of memory,
so they are imported by the first call that needs them.
"""
