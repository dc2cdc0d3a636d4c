"""Flight SQL in, Flight SQL out: authenticated, routed by the token alone, relayed."""
