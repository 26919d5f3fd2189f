"""The hypothesis profile of the pure tests: few examples, no deadline, no example database."""

from hypothesis import settings

settings.register_profile("pure", max_examples=60, deadline=None, database=None)
settings.load_profile("pure")
