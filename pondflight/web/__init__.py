"""HTTP: a Falcon app under gunicorn, which talks to the proxy as a Flight client only."""
