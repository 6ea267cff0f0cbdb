"""What runs where a pickle of somebody else's is loaded without care."""

from __future__ import annotations

import os
from pathlib import Path


class Evil:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)
