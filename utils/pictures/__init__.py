"""The one place where pictures are files: codecs, reading, writing, finding pairs, alignment."""
