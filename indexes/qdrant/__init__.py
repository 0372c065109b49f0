"""Past one machine: an index pushed to a Qdrant server, and searched there as if it lay here."""
