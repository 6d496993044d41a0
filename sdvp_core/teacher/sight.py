"""What a teacher's detector sees in the images it is asked about, each looked at once."""

from collections import OrderedDict

from sdvp_core.base.images import ImageStore
from sdvp_core.base.sample import Box
from sdvp_core.teacher.boxes import Candidates
from sdvp_core.teacher.model import Teacher

HELD = 2048  # images whose candidate boxes are kept


class Sight:
    """The candidate boxes of images by id, found once; those of the last ``HELD`` are kept.

    Images are looked at one by one: what is found in one does not depend, in any digit, on which
    others happened to be asked about with it, so that a run that was stopped ends as one that was
    not. An id must name the same image in every store that is asked.
    """

    def __init__(self, teacher: Teacher) -> None:
        self._teacher = teacher
        self._seen: OrderedDict[str, Candidates] = OrderedDict()
        self.revision = teacher.revision

    def of(self, image_id: str, images: ImageStore) -> Candidates:
        """Raises ``ImageError`` for an image that is missing or will not decode, ``ValueError``
        where the teacher has no detector."""
        if image_id not in self._seen:
            self._seen[image_id] = self._teacher.find([images.get(image_id)])[0]
            if len(self._seen) > HELD:
                self._seen.popitem(last=False)
        self._seen.move_to_end(image_id)
        return self._seen[image_id]

    def inside(
        self, image_id: str, images: ImageStore, description: str, region: Box, least: float
    ) -> list[tuple[Box, float]]:
        """The boxes of what fits a description in a region, with a score of at least ``least``."""
        return self._teacher.inside(self.of(image_id, images), description, region, least)
