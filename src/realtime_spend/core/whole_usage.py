"""Reads a usage that says everything and adds up, as nearly all do, many times as fast as `reading` does.

A service writes its usage with the same keys in the same order each time. Where what matters stands is found out for
the first one of a layout; of all others the numbers are picked out at once.

It is held by laws to what the thorough ways answer: `reading.read_amounts`, without a problem, and
`raw_numbers.numbers_text`.
"""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from realtime_spend.core.usage import MOST_TOKENS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from realtime_spend.core.usage import Counts

    _Picker = Callable[[tuple[Any, ...]], tuple[Any, ...]]

_INTEGERS = {int}
_USAGE = ("input_tokens", "output_tokens", "total_tokens")
_DETAILS = ("text_tokens", "audio_tokens", "image_tokens")
# What may be missing, and is then 0.
_OPTIONAL = {"image_tokens", "cached_tokens", "reasoning_tokens"}
_INPUT, _CACHED, _OUTPUT = "input_token_details", "cached_tokens_details", "output_token_details"
_TYPE = "type"
# No key of a service's.
_END = object()
_MOST_LAYOUTS = 64
_NOTHING: dict[str, Any] = {}
_Place = tuple[str, str]
_WANTED: tuple[_Place, ...] = (
    *(("", name) for name in _USAGE),
    *((_INPUT, name) for name in (*_DETAILS, "cached_tokens")),
    *((_CACHED, name) for name in _DETAILS),
    *((_OUTPUT, name) for name in (*_DETAILS, "reasoning_tokens")),
)
_KNOWN = {*_WANTED, ("", _TYPE), ("", _INPUT), ("", _OUTPUT), (_INPUT, _CACHED)}


class _Layout(NamedTuple):
    """How to read a usage of these keys from all its values, one object's after the other's, and a 0 after them.

    `pick` returns what `_WANTED` names; `order` the numbers in the order in which `form`, as JSON, has them.
    """

    pick: _Picker
    order: _Picker
    form: str
    is_typed: bool


_LAYOUTS: dict[tuple[object, ...], _Layout] = {}


def read_whole(usage: dict[str, Any], *, text_output: bool) -> tuple[Counts, str] | None:
    """Return the tokens of a usage that says everything and whose every sum is right, and its numbers as JSON.

    None for any other. `text_output` as for `reading.read_amounts`.
    """
    try:
        sent = usage[_INPUT]
        cached, produced = sent.get(_CACHED, _NOTHING), usage.get(_OUTPUT, _NOTHING)
        keys = (*usage, _END, *sent, _END, *cached, _END, *produced, text_output)
        layout = _LAYOUTS.get(keys) or _layout(keys, usage, sent, cached, produced)
        if layout is None:
            return None
        pick, order, form, is_typed = layout
        values = (*usage.values(), *sent.values(), *cached.values(), *produced.values(), 0)
    except (KeyError, TypeError, AttributeError):
        return None
    picked = pick(values)
    if set(map(type, picked)) != _INTEGERS or min(picked) < 0 or (is_typed and usage[_TYPE] != "tokens"):
        return None
    (
        into,
        out,
        total,
        text,
        audio,
        image,
        of_cache,
        cached_text,
        cached_audio,
        cached_image,
        made_text,
        made_audio,
        made_image,
        reasoning,
    ) = picked
    text, audio, image = text - cached_text, audio - cached_audio, image - cached_image
    if (
        text + audio + image + of_cache != into
        or cached_text + cached_audio + cached_image != of_cache
        or made_text + made_audio + made_image != out
        or into + out != total
        or total > MOST_TOKENS
        or text < 0
        or audio < 0
        or image < 0
        or reasoning > made_text
    ):
        return None
    counts = (
        text,
        cached_text,
        made_text,
        audio,
        cached_audio,
        made_audio,
        image,
        cached_image,
        made_image,
        reasoning,
    )
    return counts, form % order(values)


def _layout(
    keys: tuple[object, ...],
    usage: dict[str, Any],
    sent: dict[str, Any],
    cached: dict[str, Any],
    produced: dict[str, Any],
) -> _Layout | None:
    """Find out where everything stands; None where there is more than we know, or not enough."""
    places = [("", key) for key in usage]
    for owner, inner in ((_INPUT, sent), (_CACHED, cached), (_OUTPUT, produced)):
        places += [(owner, key) for key in inner]
    found = _found(places, text_output=bool(keys[-1]))
    # Only keys that we know are kept, and so short ones: a service can make up any others.
    if found is not None and len(_LAYOUTS) < _MOST_LAYOUTS:
        _LAYOUTS[keys] = found
    return found


def _found(places: list[_Place], *, text_output: bool) -> _Layout | None:
    if not set(places) <= _KNOWN:
        return None
    at = {place: index for index, place in enumerate(places)}
    nothing = len(places)
    has_cached, has_output = (_INPUT, _CACHED) in at, ("", _OUTPUT) in at
    for owner, name in _WANTED:
        if (owner, name) in at:
            continue
        is_all_text = owner == _OUTPUT and not has_output and text_output
        if is_all_text and name == "text_tokens":
            at[owner, name] = at.get(("", "output_tokens"), nothing)
        elif is_all_text or name in _OPTIONAL or (owner == _CACHED and not has_cached):
            at[owner, name] = nothing
        else:
            return None
    written = list(_written(places, ""))
    return _Layout(
        pick=itemgetter(*(at[place] for place in _WANTED)),
        order=itemgetter(*(at[place] for place in written if place[1] != _TYPE)),
        form=_form(places, ""),
        is_typed=("", _TYPE) in at,
    )


def _written(places: list[_Place], owner: str) -> Iterator[_Place]:
    """Return what of an object is written, in order, what is inside it where it stands."""
    for of, key in places:
        if of == owner and key in (_INPUT, _CACHED, _OUTPUT):
            yield from _written(places, key)
        elif of == owner:
            yield of, key


def _form(places: list[_Place], owner: str) -> str:
    """Return an object as JSON, with a place for each number."""
    fields = []
    for key in (key for of, key in places if of == owner):
        value = _form(places, key) if key in (_INPUT, _CACHED, _OUTPUT) else '"tokens"' if key == _TYPE else "%s"
        fields.append(f'"{key}":{value}')
    return f"{{{','.join(fields)}}}"
