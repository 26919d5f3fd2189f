"""A shop with an admin: sessions and logins in SQLite, static files by WhiteNoise."""
