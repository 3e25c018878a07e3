"""What all keys of config.yaml share: strict objects, options of registry entries, errors."""

from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from headimpact import registry
from headimpact.guards import UserError

Name = Annotated[str, Field(pattern="^[A-Za-z0-9][A-Za-z0-9_-]*$")]  # files are called by it
Positive = Annotated[int, Field(ge=1)]
Several = Annotated[int, Field(ge=1, le=10_000)]
IS_SEED = object()  # marks the type Seed, by which `move_seeds` finds every seed of a study
Seed = Annotated[int, Field(ge=0, le=2**31 - 1), IS_SEED]
Share = Annotated[float, Field(ge=0, le=1)]
Text = Annotated[str, Field(min_length=1)]


def _refuse_tilde(path: str) -> str:
    if path.startswith("~"):
        raise ValueError("has a ~, which is not expanded; write the whole path")
    return path


PathText = Annotated[str, Field(min_length=1), AfterValidator(_refuse_tilde)]


def _refuse_repeated(names: list[str]) -> list[str]:
    if len(set(names)) < len(names):
        raise ValueError("names something twice; list each once")
    return names


def list_of(*names: str) -> type:
    """The type of a list of some of the names, each at most once."""
    return Annotated[list[Literal[names]], Field(min_length=1), AfterValidator(_refuse_repeated)]


class Keys(BaseModel):
    """Keys of config.yaml; one that is not listed is refused by name."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown(cls, values: Any) -> Any:
        if isinstance(values, dict) and cls.model_config["extra"] == "forbid":
            unknown = sorted(set(values) - set(cls.model_fields))
            if unknown:
                known = ", ".join(cls.model_fields)
                raise error_at(f"{unknown[0]}: unknown key; known here: {known}")
        return values


KeysType = TypeVar("KeysType", bound=Keys)


def move_seeds(keys: KeysType, offset: int) -> KeysType:
    """The same keys with `offset` added to every field of type Seed, at any depth.

    A seed that is null, of a setup or variant that has none of its own, stays null.
    """
    moved = {}
    for name, info in type(keys).model_fields.items():
        value = getattr(keys, name)
        if isinstance(value, Keys):
            moved[name] = move_seeds(value, offset)
        elif isinstance(value, dict):
            moved[name] = {
                key: move_seeds(entry, offset) if isinstance(entry, Keys) else entry
                for key, entry in value.items()
            }
        elif value is not None and IS_SEED in [*info.metadata, *_metadata(info.annotation)]:
            moved[name] = value + offset
    return keys.model_copy(update=moved)


def _metadata(annotation: Any) -> list:
    """The metadata of an annotation and of all that it admits."""
    own = list(getattr(annotation, "__metadata__", ()))
    return own + [item for inner in get_args(annotation) for item in _metadata(inner)]


def error_at(message: str) -> PydanticCustomError:
    """An error of the form "KEY: what is wrong", where KEY lies below the object at hand."""
    return PydanticCustomError("headimpact", "{message}", {"message": message})


class WithOptions(Keys):
    """Keys beside which the options of a registry entry stand."""

    model_config = ConfigDict(extra="allow")

    def _resolve(self, *entries: registry.Entry) -> None:
        known = {name: option for entry in entries for name, option in entry.options.items()}
        unknown = sorted(set(self.model_extra) - set(known))
        if unknown:
            listed = ", ".join([*type(self).model_fields, *known])
            raise error_at(f"{unknown[0]}: unknown key; known here: {listed}")
        try:
            values = registry.options(known, self.model_extra)
        except UserError as error:
            raise error_at(str(error)) from error
        self.__pydantic_extra__.clear()
        self.__pydantic_extra__.update(values)

    @property
    def options(self) -> dict:
        """Every option of the entry, with its value or default."""
        return dict(self.model_extra)


class Component(WithOptions):
    """A named score, tuning method or metric: what kind it is, and that kind's options."""

    kind: str | None = Field(None, description="an entry of the registry; the name itself if null")

    def as_data(self) -> dict:
        """Kind and options as plain data, for the params of a rule."""
        return {"kind": self.kind, "options": self.options}


def components(table: dict[str, registry.Entry]) -> Any:
    """The type of a mapping from names to components of one table of the registry."""

    def resolve(values: dict[str, Component]) -> dict[str, Component]:
        for name, component in values.items():
            kind = component.kind or name
            if kind not in table:
                raise error_at(f"{name}.kind: {kind!r} is not one of {', '.join(table)}")
            try:
                component._resolve(table[kind])
            except PydanticCustomError as error:
                raise error_at(f"{name}.{error.context['message']}") from error
        return {name: c.model_copy(update={"kind": c.kind or name}) for name, c in values.items()}

    return Annotated[dict[Name, Component], Field(min_length=1), AfterValidator(resolve)]


def kinds_of(annotation: Any) -> list:
    """The types that an annotation admits, without its metadata."""
    if get_origin(annotation) is Annotated:
        return kinds_of(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [kind for argument in get_args(annotation) for kind in kinds_of(argument)]
    return [annotation]
