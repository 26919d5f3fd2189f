"""A chat: WebSockets, server-sent events, templates, sessions and uploads over SQLite."""
