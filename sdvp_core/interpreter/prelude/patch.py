# ruff: noqa: F821
"""ViperGPT's ImagePatch and functions. Runs INSIDE the sandbox, after ``callbacks.py``.

``_ask`` (a module call: it suspends the program) and ``_scene`` (the job's images) come from the
host. Geometry needs no host: an ImagePatch is a box of an image, in pixels with the origin at the
top left, and shows ViperGPT's coordinates (those of the whole image, origin at the bottom left, y
upward). What it sends to the host is a plain list, and the host trusts nothing in it. The
interpreter has no properties and no inheritance: hence the attributes set in ``__init__``.
"""

# Step indices by the coordinate of a found box's edge or centre: a crop whose borders are such
# numbers comes from those steps, although numbers carry no history.
_steps_at_x = {}
_steps_at_y = {}


class ImagePatch:
    def __init__(
        self, image, left=None, lower=None, right=None, upper=None, _box=None, _steps=(), _cut=None
    ):
        self._image = image._image if isinstance(image, ImagePatch) else image
        self._width, self._height = _scene["images"][self._image][1:]
        if _box is None:
            _box, _steps = _given_box(image, left, lower, right, upper)
            _cut = image._cut
        x0, y0, x1, y1 = _box
        if not (x1 > x0 and y1 > y0):
            raise ValueError("the patch has no area")
        self._box = (x0, y0, x1, y1)
        self._steps = _steps
        self._cut = _cut
        self.left = x0
        self.right = x1
        self.lower = self._height - y1
        self.upper = self._height - y0
        self.width = x1 - x0
        self.height = y1 - y0
        self.horizontal_center = (x0 + x1) / 2
        self.vertical_center = (self.lower + self.upper) / 2
        self.cropped_image = self  # some programs read patch.cropped_image.shape
        self.shape = (3, self.height, self.width)

    def __repr__(self):
        return f"ImagePatch({self.left}, {self.lower}, {self.right}, {self.upper})"

    def find(self, object_name):
        return _find(self, "find", object_name)

    def exists(self, object_name):
        return len(_find(self, "exists", object_name)) > 0

    def verify_property(self, object_name, property=None, visual_property=None, attribute=None):
        if property is None:
            property = attribute if visual_property is None else visual_property
        if property is None:
            raise TypeError("verify_property() needs an object name and a property")
        arguments = {"object_name": object_name, "property": property}
        return _match(self, "verify_property", [f"{property} {object_name}"], arguments)[0] > 0.5

    def best_text_match(self, option_list, prefix=None):
        texts = [o if prefix is None else f"{prefix} {o}" for o in option_list]
        scores = _match(self, "best_text_match", texts, {"option_list": list(option_list)})
        return option_list[scores.index(_native_max(scores))]

    def simple_query(self, question=None):
        question = "What is this?" if question is None else question
        return _ask(
            "vqa", _handle(self), [question], _note(self, "simple_query", {"question": question})
        )[1]

    def compute_depth(self):
        return _ask("depth", _handle(self), ["depth"], _note(self, "compute_depth", {}))[1]

    def llm_query(self, question, long_answer=True):
        return llm_query(question, long_answer)

    def crop(self, left, lower, right, upper):
        x0, x1 = _native_max(0, left), _native_min(self._width, right)
        y0, y1 = (
            _native_max(0, self._height - upper),
            _native_min(self._height, self._height - lower),
        )
        steps = list(self._steps)
        for table, edge, own in (
            (_steps_at_x, left, (0, self._width, self.left, self.right)),
            (_steps_at_x, right, (0, self._width, self.left, self.right)),
            (_steps_at_y, lower, (0, self._height, self.lower, self.upper)),
            (_steps_at_y, upper, (0, self._height, self.lower, self.upper)),
        ):
            if edge not in own and edge in table:
                steps = _joined(steps, table[edge])
        return ImagePatch(self, _box=(x0, y0, x1, y1), _steps=steps, _cut="crop")

    def overlaps_with(self, left, lower, right, upper):
        return (
            self.left <= right
            and self.right >= left
            and self.lower <= upper
            and self.upper >= lower
        )


def best_image_match(list_patches, content, return_index=False):
    if len(list_patches) == 0:
        return None
    content = [content] if isinstance(content, str) else content
    totals = [
        sum(_match(p, "best_image_match", content, {"content": content})) for p in list_patches
    ]
    best = totals.index(_native_max(totals))
    return best if return_index else list_patches[best]


def distance(patch_a, patch_b):
    if not isinstance(patch_a, ImagePatch) or not isinstance(patch_b, ImagePatch):
        return abs(patch_a - patch_b)
    a, b = patch_a._box, patch_b._box
    gap_x = _native_max(0, a[0] - b[2], b[0] - a[2])
    gap_y = _native_max(0, a[1] - b[3], b[1] - a[3])
    if gap_x > 0 or gap_y > 0:
        return (gap_x**2 + gap_y**2) ** 0.5
    shared = (_native_min(a[2], b[2]) - _native_max(a[0], b[0])) * (
        _native_min(a[3], b[3]) - _native_max(a[1], b[1])
    )
    return -shared / (patch_a.width * patch_a.height + patch_b.width * patch_b.height - shared)


def bool_to_yesno(bool_answer):
    return "yes" if bool_answer else "no"


_NUMBER_WORDS = {
    w: n
    for n, w in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
        "fifteen sixteen seventeen eighteen nineteen twenty".split()
    )
}


def coerce_to_numeric(string, no_string=False):
    """The first number of a text ("about 10-15" -> 10); without one the text as it is."""
    if not isinstance(string, str):
        return string
    words = [
        _NUMBER_WORDS[w] for w in string.lower().replace("-", " ").split() if w in _NUMBER_WORDS
    ]
    if words:
        return words[0]
    kept = "".join([c for c in string if c in "0123456789.-"])
    sign = "-" if kept.startswith("-") else ""
    kept = sign + kept[len(sign) :].split("-")[0]
    try:
        return float(kept) if "." in kept else int(kept)
    except ValueError:
        if no_string:
            raise ValueError(f"no number in {string!r}")  # noqa: B904
        return string


def llm_query(query, context=None, long_answer=True):
    handle = _handle(_view(0))
    return _ask("knowledge", handle, [query], {"op": "llm_query", "query": query})[1]
