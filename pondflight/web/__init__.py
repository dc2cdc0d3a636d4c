"""HTTP: a Falcon app under gunicorn, which talks to the proxy only as a Flight client."""
