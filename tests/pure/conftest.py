"""How hypothesis plays here: few examples, no stop-watch, and nothing remembered on disk."""

from hypothesis import settings

settings.register_profile("pure", max_examples=60, deadline=None, database=None)
settings.load_profile("pure")
