"""Several steps of retrieval for one question: what to search for next, and when to stop."""
