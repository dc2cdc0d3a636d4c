"""gunicorn's messages in our log's form."""

from __future__ import annotations

import logging

from gunicorn.glogging import Logger as GunicornLogger


class Logger(GunicornLogger):
    """Leaves formatting and output to the root logger."""

    def setup(self, cfg: object) -> None:
        """Set no handlers of gunicorn's own."""
        super().setup(cfg)
        for logger in (self.error_log, self.access_log):
            logger.handlers.clear()
            logger.propagate = True
        self.error_log.setLevel(logging.WARNING)
