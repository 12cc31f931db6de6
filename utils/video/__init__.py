"""Video files: reading, pairing in time, writing in pieces, joining (docs/VIDEO.md). Needs PyAV (extra ``video``)."""
