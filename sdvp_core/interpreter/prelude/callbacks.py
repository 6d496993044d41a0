"""Builtins again, so that a program may ask a module inside ``key=`` or a mapped function.

Runs INSIDE the sandbox, never on the host, as the first of the prelude's files. The interpreter
there cannot suspend a program inside a native callback, and makes generator expressions lists:
``_seek``, ``_next`` and ``_sort`` are what ``program/viper.py`` rewrites a program to.
"""

_native_sorted = sorted
_native_min = min
_native_max = max
_native_map = map
_native_filter = filter
_MISSING = [None]


def _seek(function, values, several=False):
    for value in values:
        found = function(*value) if several else function(value)
        if found is not None:
            return found
    return None


def _next(found, default=_MISSING):
    if found is not None:
        return found[0]
    if default is _MISSING:
        raise StopIteration
    return default


def sorted(iterable, key=None, reverse=False):
    values = list(iterable)
    if key is None:
        return _native_sorted(values, reverse=reverse)
    keys = [key(v) for v in values]
    order = _native_sorted(range(len(values)), key=lambda i: keys[i], reverse=reverse)
    return [values[i] for i in order]


def _sort(values, key=None, reverse=False):
    values[:] = sorted(values, key=key, reverse=reverse)


def _best(native, values, key, default):
    values = list(values[0]) if len(values) == 1 else list(values)
    if not values and default is not _MISSING:
        return default
    if key is None:
        return native(values)
    keys = [key(v) for v in values]
    return values[keys.index(native(keys))]


def min(*values, key=None, default=_MISSING):
    return _best(_native_min, values, key, default)


def max(*values, key=None, default=_MISSING):
    return _best(_native_max, values, key, default)


def map(function, *iterables):
    return [function(*values) for values in zip(*iterables)]  # noqa: B905 (the sandbox's zip may not know strict=)


def filter(function, iterable):
    return [v for v in iterable if (v if function is None else function(v))]
