"""How much a Containerfile may hold, so that no file takes much time or memory to refuse.

BuildKit has the limit of a line; the others are ours, far above what people write.
"""

MAX_FILE_BYTES = 16 << 20
MAX_LINE_BYTES = 65_535  # of a physical line
MAX_INSTRUCTIONS = 20_000
MAX_INSTRUCTION_LINES = 20_000  # joined by continuations
MAX_WORDS = 50_000  # in the instructions of a file together; heredoc bodies do not count
MAX_WARNINGS = 1_000  # of one file; more are no news
MAX_ERRORS = 1_000  # reading stops there
MAX_DIRECTIVE_FAULTS = 10
