"""`agent report`: scores or alerts as one HTML page that needs nothing but a browser."""

from agent.commands.report.page import write_report

__all__ = ["write_report"]
