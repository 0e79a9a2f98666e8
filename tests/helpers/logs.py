"""What the agent says, collected."""

import logging


class Collector(logging.Handler):
    """Keeps the messages of all records in `messages`, in order."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())
