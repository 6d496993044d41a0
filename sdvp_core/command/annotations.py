"""Annotations given with a program, in any of the forms their owners have them in."""

from typing import Any

Row = dict[str, Any]


def annotation_rows(row: Row, names: tuple[str, ...]) -> list[Row]:
    """Rows of the annotations table for the images of one input row of `run`.

    ``annotations`` may be: a list of objects (``name``, ``attributes``, ``box`` x0 y0 x1 y1 in
    pixels) of the one image; NLVR's ``structured_rep`` (a list of boxes, each a list of items); a
    GQA scene graph (``{"objects": {id: {name, x, y, w, h, attributes}}}``); or a mapping from image
    name to one of these. An image without annotations has no row, one with an empty list no
    objects. Raises ``ValueError`` where they have another form.
    """
    given = row.get("annotations")
    if given is None:
        return []
    by_name = given if isinstance(given, dict) and set(given) <= set(names) else {names[0]: given}
    return [
        {"image_id": name, "objects": _objects(by_name[name]), "relations": []}
        for name in names
        if name in by_name
    ]


def _objects(given: Any) -> list[Row]:
    try:
        if isinstance(given, dict):
            return [_from_graph(key, thing) for key, thing in given["objects"].items()]
        if isinstance(given, list) and given and isinstance(given[0], list):
            from sdvp_core.tasks.nlvr import objects

            return objects(given)
        return [_plain(number, thing) for number, thing in enumerate(given)]
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise ValueError(
            "annotations have another form than a list of objects (name, attributes, box), a GQA "
            "scene graph, or NLVR's structured_rep"
        ) from error


def _plain(number: int, thing: Row) -> Row:
    return {
        "object_id": str(thing.get("object_id", number)),
        "name": thing["name"],
        "categories": list(thing.get("categories", ("object", "item"))),
        "attributes": list(thing.get("attributes", ())),
        "box": [float(c) for c in thing["box"]],
    }


def _from_graph(key: str, thing: Row) -> Row:
    x, y, width, height = (float(thing[side]) for side in "xywh")
    return _plain(0, {**thing, "object_id": key, "box": (x, y, x + width, y + height)})
