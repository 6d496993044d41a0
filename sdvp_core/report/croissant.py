"""Croissant 1.0 metadata (mlcommons.org/croissant/1.0): what a loader needs to read the tables."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from sdvp_core.report.columns import Released

_VOCABULARY = {
    name: f"cr:{name}"
    for name in (
        "citeAs column dataBiases dataCollection equivalentProperty extract field fileProperty "
        "fileObject fileSet format includes isLiveDataset jsonPath key md5 parentField path "
        "personalSensitiveInformation recordSet references regex repeated replace samplingRate "
        "separator "
        "source subField transform"
    ).split()
}
_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "dct": "http://purl.org/dc/terms/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    **_VOCABULARY,
}


def croissant(
    name: str,
    licence: str,
    version: str,
    url: str | None,
    description: str,
    hashes: Mapping[str, str],
    tables: Mapping[str, Released],
) -> dict[str, Any]:
    """The JSON-LD object. ``hashes``: sha256 of each Parquet file; ``licence``: SPDX identifier."""
    about = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": name,
        "description": description,
        "license": f"https://spdx.org/licenses/{licence.upper()}.html",
        "version": version,
        "distribution": [_file(path, digest) for path, digest in hashes.items()],
        "recordSet": [_records(path, table) for path, table in tables.items()],
    }
    return about | ({"url": url} if url else {})


def _file(path: str, digest: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": path,
        "name": path,
        "contentUrl": path,
        "encodingFormat": "application/x-parquet",
        "sha256": digest,
    }


def _records(path: str, table: Released) -> dict[str, Any]:
    name = path.removesuffix(".parquet").rpartition("/")[2]
    fields = [_column(name, path, column) | {"description": table.meanings[column.name]}
              for column in table.schema]  # fmt: skip
    return {"@type": "cr:RecordSet", "@id": name, "name": name, "field": fields}


def _column(records: str, path: str, column: pa.Field) -> dict[str, Any]:
    identity, is_list = f"{records}/{column.name}", _is_list(column.type)
    source = {"fileObject": {"@id": path}, "extract": {"column": column.name}}
    about = {"@type": "cr:Field", "@id": identity, "name": column.name}
    about |= {"repeated": True} if is_list else {}
    kind = column.type.value_type if is_list else column.type
    if not pa.types.is_struct(kind):
        return about | {"dataType": _data_type(kind), "source": source}
    parts = [
        {
            "@type": "cr:Field",
            "@id": f"{identity}/{part.name}",
            "name": part.name,
            "dataType": _data_type(part.type),
            "source": source | {"transform": {"jsonPath": part.name}},
        }
        for part in kind
    ]
    return about | {"subField": parts}


def _data_type(kind: pa.DataType) -> str:
    if _is_list(kind):
        return _data_type(kind.value_type)
    if pa.types.is_boolean(kind):
        return "sc:Boolean"
    if pa.types.is_integer(kind):
        return "sc:Integer"
    if pa.types.is_binary(kind):
        return "sc:ImageObject"
    return "sc:Float" if pa.types.is_floating(kind) else "sc:Text"


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind)
