"""Everything about picture files: codecs, reading, writing, pair finding, alignment."""
