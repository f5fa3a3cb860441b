"""What the documented calls raise and is no part of the client or of ``watcher.direct``."""

from watcher.core.errors import AppError, RedisUnreachable, SettingError, WatcherError

__all__ = ["AppError", "RedisUnreachable", "SettingError", "WatcherError"]
