"""docs/configuration.md and docs/config.schema.json, generated from the keys of config.yaml.

python -m headimpact.study.documentation docs
"""

import json
import sys
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from headimpact import registry
from headimpact.study.base import Component, kinds_of
from headimpact.study.config import Config

HEAD = """# Every key of config.yaml

Generated from `headimpact.study` by `python -m headimpact.study.documentation docs`; an editor that
reads `docs/config.schema.json` completes and checks the keys. One entry of `studies` is one study,
`results/NAME/` its folder. A key without a default must be given.
"""
TABLES = {
    "Scores": ("`scores.NAME`: a head score", registry.SCORES),
    "Layers": ("`setups.NAME.layers`: how a setup's layers are chosen", registry.LAYER_CHOICES),
    "Methods": ("`methods.NAME`: how chosen layers are tuned", registry.METHODS),
    "Metrics": ("`metrics.NAME`: a row of Table 4 a model", registry.METRICS),
    "Annotators": ("`annotator.name`: who finds the key objects", registry.ANNOTATORS),
}
COMPONENTS = {
    "scores": registry.SCORES,
    "methods": registry.METHODS,
    "metrics": registry.METRICS,
}


JSON_TYPES = {int: "integer", float: "number", str: "string", list: "array", dict: "object"}


def schema() -> dict:
    """The JSON schema of config.yaml, for editors, with the options of all registry entries."""
    content = Config.model_json_schema()
    definitions = content["$defs"]
    for name, table in (("Setup", registry.LAYER_CHOICES), ("Annotator", registry.ANNOTATORS)):
        definitions[name]["properties"] = _options(table) | definitions[name]["properties"]
        definitions[name]["additionalProperties"] = False
    del definitions["Component"]
    keys = definitions["Study"]["properties"]
    for name, table in COMPONENTS.items():
        (pattern,) = keys[name]["patternProperties"]
        keys[name]["patternProperties"][pattern] = {
            "type": "object",
            "additionalProperties": False,
            "properties": {"kind": {"enum": list(table)}, **_options(table)},
        }
    return content


def _options(table: dict[str, registry.Entry]) -> dict[str, dict]:
    """The options of all entries of a table, as properties of a JSON schema."""
    properties = {}
    for entry in table.values():
        for name, option in entry.options.items():
            # entries may have an option of the same name with other choices
            same_name = properties.get(name, {})
            properties[name] = {"description": option.meaning}
            if option.choices:
                choices = [*same_name.get("enum", []), *option.choices]
                properties[name]["enum"] = list(dict.fromkeys(choices))
            else:
                names = [JSON_TYPES.get(kind, "null") for kind in option.types]
                properties[name]["type"] = names
    return properties


def page() -> str:
    """docs/configuration.md."""
    lines = [HEAD, *_table("config.yaml", Config, "")]
    lines += [
        "## Options of what a name stands for",
        "",
        "They stand beside `kind` (which is the name itself where it is left out), `layers` or "
        "`name`.",
        "",
    ]
    for title, (meaning, table) in TABLES.items():
        lines += [f"### {title}", "", meaning + ".", "", "| name | option | default | meaning |"]
        lines += ["| --- | --- | --- | --- |"]
        for name, entry in table.items():
            rows = entry.options.items() or [("", None)]
            for option, spec in rows:
                default = "" if spec is None or spec.default is registry.REQUIRED else spec.default
                text = "" if spec is None else spec.meaning
                cells = (name, option, "" if default == "" else _code(default), text)
                lines.append("| " + " | ".join(map(_escape, cells)) + " |")
        lines.append("")
    return "\n".join(lines)


def _table(title: str, model: type[BaseModel], prefix: str) -> list[str]:
    """A section of one object's keys, and a section for each object below it."""
    lines = [f"## {title}", "", "| key | values | default | meaning |", "| --- | --- | --- | --- |"]
    below = []
    for key, info in model.model_fields.items():
        inner = _objects(info.annotation)
        default = "" if info.is_required() else _default(info.default)
        values = "" if inner else _values(info)
        cells = (f"`{key}`", values, default, info.description or _summary(inner))
        lines.append("| " + " | ".join(map(_escape, cells)) + " |")
        for kind in inner:
            named = _is_mapping(info.annotation)
            path = f"{prefix}{key}{'.NAME' if named else ''}"
            note = f" ({_constant(kind)})" if len(inner) > 1 else ""
            if kind is not Component and path != "studies.NAME.variants.NAME":
                below += _table(f"`{path}`{note}".replace("studies.NAME.", ""), kind, f"{path}.")
    return [*lines, "", *below]


def _objects(annotation: Any) -> list[type[BaseModel]]:
    """The objects that a key holds, or a mapping's values are."""
    objects = []
    for kind in kinds_of(annotation):
        if get_origin(kind) is dict:
            objects += _objects(get_args(kind)[1])
        elif isinstance(kind, type) and issubclass(kind, BaseModel):
            objects.append(kind)
    return objects


def _is_mapping(annotation: Any) -> bool:
    return any(get_origin(kind) is dict for kind in kinds_of(annotation))


def _constant(model: type[BaseModel]) -> str:
    """`kind: scenes` of an object of which there are several kinds."""
    return f"kind: {get_args(model.model_fields['kind'].annotation)[0]}"


def _summary(models: list[type[BaseModel]]) -> str:
    return (models[0].__doc__ or "").strip().partition("\n")[0] if len(models) == 1 else ""


def _values(info: Any) -> str:
    """What a key may hold, in words."""
    names = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    parts = []
    for kind in kinds_of(info.annotation):
        if get_args(kind) and get_origin(kind) not in (list, dict):
            parts += [f"`{value}`" for value in get_args(kind)]
        elif kind is type(None):
            parts.append("`null`")
        elif get_origin(kind) is list:
            parts.append("a list")
        else:
            parts.append(names.get(kind, "") + _bounds(info))
    return ", ".join(filter(None, parts))


def _bounds(info: Any) -> str:
    text = ""
    for limit in _limits(info):
        for sign, word in (("ge", " from"), ("gt", " above"), ("le", " to")):
            if getattr(limit, sign, None) is not None:
                text += f"{word} {getattr(limit, sign)}"
    return text


def _limits(info: Any) -> list:
    """Bounds of a number, which stand deeper where null is admitted, too."""
    limits = list(info.metadata)
    for argument in get_args(info.annotation):
        for part in getattr(argument, "__metadata__", ()):
            limits += getattr(part, "metadata", [part])
    return limits


def _default(value: Any) -> str:
    if value is PydanticUndefined:
        return ""
    return "see below" if isinstance(value, BaseModel) else _code(value)


def _code(value: Any) -> str:
    return f"`{json.dumps(value, ensure_ascii=False)}`"


def _escape(text: str) -> str:
    return text.replace("|", "\\|")


def main() -> None:
    folder = Path(sys.argv[1])
    (folder / "configuration.md").write_text(page(), encoding="utf-8")
    text = json.dumps(schema(), indent=1, ensure_ascii=False)
    (folder / "config.schema.json").write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
