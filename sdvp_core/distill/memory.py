"""What a student set carries of its past: a sample of the inputs it was trained on, with images.

They lie in the set's own folder, so that a link needs its parent alone and not every task before
it. Targets are not kept: self-distillation asks the frozen parent.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from sdvp_core.base.images import ImageStore
from sdvp_core.base.records import IMAGES, REPLAY
from sdvp_core.base.sample import Sample
from sdvp_core.base.tables import iterate_rows, write_table
from sdvp_core.distill.replay import keep

CALLS, PICTURES = "replay.parquet", "replay_images.parquet"


def chosen(
    samples: Mapping[str, Sequence[Sample]], counts: Mapping[str, int], seed: int
) -> list[Sample]:
    """What a link leaves for later ones: ``counts`` inputs a module."""
    return [s for name, group in samples.items() for s in keep(group, counts.get(name, 0), seed)]


def save(folder: Path, samples: Sequence[Sample], images: ImageStore) -> None:
    """Write the inputs and, once each, the images they look at."""
    rows = ({key: getattr(s, key) for key in REPLAY.names} for s in samples)
    write_table(folder / CALLS, rows, REPLAY)
    ids = dict.fromkeys(s.image_id for s in samples)
    write_table(folder / PICTURES, (dict(images.row(name)) for name in ids), IMAGES)


def load(folder: Path) -> tuple[list[Sample], ImageStore]:
    """The inputs and their images; nothing where the set carries none (a bare checkpoint)."""
    if not (folder / CALLS).is_file():
        return [], ImageStore([])
    samples = [
        Sample(row["module"], row["image_id"], tuple(row["region"]), tuple(row["texts"]))
        for row in iterate_rows(folder / CALLS, REPLAY)
    ]
    return samples, ImageStore.from_table(folder / PICTURES)
