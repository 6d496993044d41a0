# ruff: noqa: F821
"""What compiled programs call beside the ImagePatch: VisProg's steps, the inputs, the answer.

Runs INSIDE the sandbox, as the last of the prelude's files. VisProg's steps keep the original's
meaning, without its rounding to whole pixels; boxes are in coordinates of the whole image.
"""

_empty = []  # lists without a box, with the step that made each


# What compiled VisProg programs call.


def _loc(image, name):
    x0, y0, x1, y1 = image._box
    middle_x, middle_y = (x0 + x1) / 2, (y0 + y1) / 2
    special = {
        "TOP": (x0, y0, x1, middle_y),
        "BOTTOM": (x0, middle_y, x1, y1),
        "LEFT": (x0, y0, middle_x, y1),
        "RIGHT": (middle_x, y0, x1, y1),
    }
    if name in special:
        return [ImagePatch(image, _box=special[name], _steps=image._steps, _cut=name)]
    return _find(image, "LOC", name)


def _vqa(image, question):
    return _ask("vqa", _handle(image), [question], _note(image, "VQA", {"question": question}))[1]


def _count(boxes):
    return len(boxes)


def _crop(operation, image, boxes):
    x0, y0, x1, y1 = image._box
    centre_x, centre_y = (x0 + x1) / 2, (y0 + y1) / 2
    steps = _joined(_found_nothing(boxes), image._steps)
    if boxes:
        box = boxes[0]._box
        centre_x, centre_y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        steps = boxes[0]._steps
    if operation in ("CROP_LEFTOF", "CROP_RIGHTOF", "CROP_ABOVE", "CROP_BELOW"):
        steps = _joined(steps, image._steps)
        if operation == "CROP_RIGHTOF":
            region = (centre_x, y0, x1, y1)
        # The original cuts the left half for "above" and "below" too when there is no box.
        elif operation == "CROP_LEFTOF" or not boxes:
            region = (x0, y0, centre_x, y1)
        elif operation == "CROP_ABOVE":
            region = (x0, y0, x1, centre_y)
        else:
            region = (x0, centre_y, x1, y1)
    elif not boxes:
        region = image._box
    else:
        half_width, half_height = 0.75 * (box[2] - box[0]), 0.75 * (box[3] - box[1])
        region = (
            centre_x - half_width,
            centre_y - half_height,
            centre_x + half_width,
            centre_y + half_height,
        )
    region = (
        _native_max(x0, region[0]),
        _native_max(y0, region[1]),
        _native_min(x1, region[2]),
        _native_min(y1, region[3]),
    )
    return ImagePatch(image, _box=region, _steps=steps, _cut=operation)


def _value(value):
    if isinstance(value, str):
        if value in ("yes", "no"):
            return value == "yes"
        if value.isdecimal():
            return int(value)
    return value


# What the compilers and the host lean on.


def _view(index, box=None):
    _, width, height = _scene["images"][index]
    return ImagePatch(index, _box=(0, 0, width, height) if box is None else box)


def _third(index):
    _, width, height = _scene["images"][0]  # NLVR: boxes of 100 pixels, 50 apart, in 400 x 100
    return _view(0, (width * 0.375 * index, 0, width * (0.375 * index + 0.25), height))


def _bind(name, position):
    views = [_view(i) for i in range(len(_scene["images"]))]
    named = {
        "query": _scene["question"],
        "question": _scene["question"],
        "images": views,
        "image_list": views,
    }
    if _scene["scene"] == "pair":
        named["image_dict"] = {"left": views[0], "right": views[1]}
        named["left"] = named["left_image"] = named["image_left"] = views[0]
        named["right"] = named["right_image"] = named["image_right"] = views[1]
    elif _scene["scene"] == "boxes":
        named["left"], named["middle"], named["right"] = _third(0), _third(1), _third(2)
    if name in named:
        return named[name]
    return views[_native_min(position, len(views) - 1)]


def _answer(value):
    if isinstance(value, ImagePatch):
        return list(value._box)
    if isinstance(value, (list, tuple)):
        return [_answer(v) for v in value]
    if isinstance(value, set):
        return _native_sorted([_answer(v) for v in value], key=str)
    if isinstance(value, dict):
        return {str(k): _answer(v) for k, v in value.items()}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"an answer cannot be a {type(value).__name__}")


def _given_box(image, left, lower, right, upper):
    if left is None and lower is None and right is None and upper is None:
        return image._box, image._steps
    patch = image.crop(
        image.left if left is None else left,
        image.lower if lower is None else lower,
        image.right if right is None else right,
        image.upper if upper is None else upper,
    )
    return patch._box, patch._steps


def _handle(patch):
    return [_scene["images"][patch._image][0], *patch._box, list(patch._steps)]


def _note(patch, operation, arguments):
    arguments["op"] = operation
    if patch._cut is not None:
        arguments["crop"] = patch._cut
    return arguments


def _find(patch, operation, name):
    index, boxes = _ask(
        "locate", _handle(patch), [name], _note(patch, operation, {"object_name": name})
    )
    found = [ImagePatch(patch, _box=box, _steps=[index]) for box in boxes]
    if not found:
        _empty.append((found, index))
    for one in found:
        for x in (one.left, one.right, one.horizontal_center):
            _steps_at_x[x] = [index]
        for y in (one.lower, one.upper, one.vertical_center):
            _steps_at_y[y] = [index]
    return found


def _found_nothing(boxes):
    """The step that looked for a thing in vain: it still says what the crop is meant to show."""
    return [index for found, index in _empty if found is boxes]


def _match(patch, operation, texts, arguments):
    return _ask("match", _handle(patch), texts, _note(patch, operation, arguments))[1]


def _joined(steps, more):
    return list(steps) + [s for s in more if s not in steps]
