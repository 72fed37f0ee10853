"""Builds a map: splits the world into tiles, renders each, merges what came of them.

The tasks depend on one another: rendering waits for the split, merging for all tiles. The program decides
that itself, from what `pop_finished` gives, and knows nothing of the scheduler but three methods.

Run it with a daemon on this machine (``apportion serve``)::

    python examples/map_build.py
"""

import sys
import time
from dataclasses import dataclass, field

import apportion


@dataclass
class Split:
    """Cuts the world into tiles."""

    size: int

    def consumption(self):
        return {"cpu": 0.1, "ram": 64 * 1024**2}

    def run(self):
        return [(column, row) for row in range(self.size) for column in range(self.size)]


@dataclass
class Render:
    """Draws one tile; reads the database over a connection of its own."""

    tile: tuple
    times: int = 1

    def consumption(self):
        return [{"cpu": 0.5}, {"ram": 128 * 1024**2}]

    def run(self):
        column, row = self.tile
        return "#" if (column + row) % 2 else "."


@dataclass
class Merge:
    """Puts the tiles together."""

    tiles: dict = field(default_factory=dict)

    def consumption(self):
        return {"cpu": 1, "ram": 256 * 1024**2}

    def run(self):
        size = max(row for _, row in self.tiles) + 1
        return "\n".join("".join(self.tiles[column, row] for column in range(size)) for row in range(size))


def build_map(executer, size):
    """The finished map, as text."""
    executer.execute(Split(size))
    wanted, tiles = size * size, {}
    while True:
        for task, value, exception in executer.pop_finished():
            if exception is not None:
                raise exception
            if isinstance(task, Split):
                for tile in value:
                    executer.execute(Render(tile))
            elif isinstance(task, Render):
                tiles[task.tile] = value
                if len(tiles) == wanted:
                    executer.execute(Merge(tiles))
            else:
                return value
        time.sleep(0.05)


if __name__ == "__main__":
    print(build_map(apportion.TaskExecuter(*sys.argv[1:2], queue="default", retries=2), size=4))
