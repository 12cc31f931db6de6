"""What ``defusionpp video`` has done so far: the growing video beside the result, and how to go on with it."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from utils.errors import UserError
from utils.files import atomic_write
from utils.version import VERSION
from utils.video.reading import Video


@dataclass
class Unfinished:
    """The state of an unfinished result, in ``NAME.part.json`` beside the growing video ``NAME.part.mp4``.

    Attributes:
        out: the result.
        made: what it is made of and how; a run goes on only with the same.
        frames: frames that are done.
        length: bytes of the growing video that hold them.
        alignment: state of the ``Follower`` after these frames.
    """

    out: Path
    made: dict[str, Any]
    frames: int = 0
    length: int = 0
    alignment: list[list[float]] | None = field(default=None)

    @property
    def video(self) -> Path:
        """The growing video."""
        return self.out.with_name(self.out.stem + ".part.mp4")

    @property
    def path(self) -> Path:
        """The file of this state."""
        return self.video.with_suffix(".json")

    def read(self) -> None:
        """Take over the state of an earlier run; without one nothing is done.

        Raises:
            UserError: the file is no such state, or the earlier run was of other videos or options.
        """
        if not self.path.exists():
            return
        try:
            kept = json.loads(self.path.read_text(encoding="utf-8"))
            made, self.frames, self.length = kept["made"], int(kept["frames"]), int(kept["length"])
            self.alignment = kept["alignment"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{self.path}: not the state of a video ({type(error).__name__}); --resume; give "
                            "--overwrite to begin anew") from error
        changed = [key for key in self.made if made.get(key) != self.made[key]]
        if changed:
            raise UserError(f"{self.video} was begun with {changed[0]} {made.get(changed[0])}, not "
                            f"{self.made[changed[0]]}; --resume; give the same, or --overwrite to begin anew")

    def write(self) -> None:
        """Write the state."""
        values = {"made": self.made, "frames": self.frames, "length": self.length, "alignment": self.alignment}
        with atomic_write(self.path) as temporary:
            temporary.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")

    def remove(self) -> None:
        """Delete the growing video and the state."""
        self.path.unlink(missing_ok=True)
        self.video.unlink(missing_ok=True)


def recipe(infrared: Video, visible: Video, **rules: Any) -> dict[str, Any]:
    """What a result is made of and how, as plain values: files with size and time of change, options, version."""
    def told(video: Video) -> str:
        stat = video.path.stat()
        return f"{video.path.resolve()} ({stat.st_size} bytes, changed at {stat.st_mtime_ns})"

    return {"infrared": told(infrared), "visible": told(visible), **rules, "version": VERSION}
