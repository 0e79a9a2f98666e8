"""What the agent says, collected."""

import logging

_LOGGERS = ("agent", "training", "export")


class Collector(logging.Handler):
    """Keeps the messages of all records in `messages`, in order."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def collect_messages() -> list[str]:
    """The list to which every message of our packages is added from now on until the test ends."""
    collector = Collector()
    for logger in map(logging.getLogger, _LOGGERS):
        logger.setLevel(logging.DEBUG)
        logger.addHandler(collector)
    return collector.messages


def drop_collectors() -> None:
    """Ends what `collect_messages` began."""
    for logger in map(logging.getLogger, _LOGGERS):
        for handler in [one for one in logger.handlers if isinstance(one, Collector)]:
            logger.removeHandler(handler)
