"""The YAML at the head of a card."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

_HEAD = re.compile(r"^\ufeff?\s*---[ \t]*\r?\n(?:(.*?)\r?\n)?---[ \t]*(?:\r?\n|$)", re.DOTALL)
_MOST_LETTERS, _MOST_VALUES = 1 << 18, 100_000
_LISTS = ("tags", "datasets", "metrics", "configs")
_TEXTS = ("library_name", "pipeline_tag", "pretty_name", "license_name")


class _Loader(yaml.SafeLoader):
    """Without merged mappings (`<<: *name`): a few lines of them can stand for gigabytes."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        pass


def _head(content: str) -> str:
    match = _HEAD.match(content)
    return (match and match[1]) or ""


def _load(head: str) -> Any:
    if len(head) > _MOST_LETTERS:  # reading goes at 50 kB a second
        raise ValueError
    return yaml.load(head, _Loader) or {}


def metadata_of(content: str) -> Mapping[str, Any]:
    """The metadata of a card; none if there is none or it cannot be read."""
    return _metadata(_head(content))


@functools.lru_cache(64)  # every look at a repo asks for it
def _metadata(head: str) -> Mapping[str, Any]:
    try:
        loaded = _plain(_load(head), iter(range(_MOST_VALUES)))
    except (yaml.YAMLError, ValueError, RecursionError):
        return {}
    return loaded if isinstance(loaded, dict) else {}


def _plain(value: Any, left: Iterator[int]) -> Any:
    """Without what JSON does not know, such as dates. Raises `ValueError` for more values than are `left`."""
    if next(left, None) is None:  # aliases can make many of few
        raise ValueError
    if isinstance(value, dict):
        return {str(key): _plain(of, left) for key, of in value.items()}
    if isinstance(value, list):
        return [_plain(of, left) for of in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)


def errors_of(content: str) -> tuple[list[str], list[str]]:
    """What is wrong with the metadata of a card, and what is only worth a warning."""
    try:
        metadata = _load(_head(content))
    except yaml.YAMLError as error:
        return [f"the YAML at the head cannot be read: {' '.join(str(error).split())}"], []
    except (ValueError, RecursionError):
        return ["the YAML at the head cannot be read"], []
    if not isinstance(metadata, dict):
        return ["the YAML at the head is not a mapping of fields"], []
    if not metadata:
        return [], ["empty or missing yaml metadata in repo card"]
    errors = [
        f'"{field}" must be a list' for field in _LISTS if field in metadata and not isinstance(metadata[field], list)
    ]
    errors += [
        f'"{field}" must be a string' for field in _TEXTS if field in metadata and not isinstance(metadata[field], str)
    ]
    tags = metadata.get("tags")
    if isinstance(tags, list) and not all(isinstance(tag, str) for tag in tags):
        errors.append('"tags" must be a list of strings')
    index = metadata.get("model-index")
    if index is not None:
        entries = index if isinstance(index, list) else [index]
        for entry in entries:
            if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
                errors.append('"model-index" must be a list of models with a "name"')
            elif not isinstance(entry.get("results", []), list):
                errors.append('"model-index[].results" must be a list')
    return errors, []
