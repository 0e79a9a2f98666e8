"""Waking up when a followed file changes: inotify where it works, polling where it does not."""
