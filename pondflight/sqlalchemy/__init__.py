"""A SQLAlchemy dialect: ``pondflight+flightsql://token:<token>@host:8081/catalog.schema``.

It runs in the client, with SQLAlchemy 1.4 and 2, and imports nothing of the server, so it works
where pondflight is installed without its dependencies.
"""
