"""Commands that ask a question: an option for each of its fields, in the words of the admin API."""

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Annotated, Any, get_args, get_origin

import typer
from pydantic import BeforeValidator, ValidationError
from pydantic.fields import FieldInfo

from app.admin.questions import Question

_OPTIONS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"project": ("--project", "-p"), "key_id": ("--key",), "hard": ("--hard/--soft",)}
)


def asking(question: type[Question]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a command the options of a question; the command gets it as `asked`."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command)
        own = [each for name, each in signature.parameters.items() if name != "asked"]
        parameters = [*_parameters(question), *own]

        @functools.wraps(command)
        def with_question(**options: Any) -> None:
            given = {name: options.pop(name) for name in question.model_fields}
            command(**options, asked=_asked(question, given))

        with_question.__annotations__ = {each.name: each.annotation for each in parameters}
        vars(with_question)["__signature__"] = signature.replace(parameters=parameters)
        return with_question

    return decorate


def _parameters(question: type[Question]) -> Iterator[inspect.Parameter]:
    for name, field in question.model_fields.items():
        default = inspect.Parameter.empty if field.is_required() else _default(field)
        option = typer.Option(*_OPTIONS.get(name, ()), help=field.description)
        kind = Annotated[_kind(field), option]  # type: ignore[valid-type]
        yield inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)


def _default(field: FieldInfo) -> Any:
    return field.get_default(call_default_factory=True, validated_data={})


def _kind(field: FieldInfo) -> Any:
    """What the command line makes of an option's text; the rest is left to the question."""
    if get_origin(field.annotation) is list:
        return list[str]
    kinds = get_args(field.annotation) or (field.annotation,)
    read = any(isinstance(each, BeforeValidator) for each in field.metadata)
    kind = kinds[0] if kinds[0] in (bool, int) and not read else str
    return kind if field.is_required() or _default(field) is not None else kind | None


def _asked(question: type[Question], given: Mapping[str, Any]) -> Question:
    """The question; what is not given is as it is when nobody says anything."""
    try:
        return question(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else ""
        hint = _OPTIONS.get(name, (f"--{name}",))[0]
        message = first["msg"].removeprefix("Value error, ")
        raise typer.BadParameter(message, param_hint=f"'{hint}'" if name else None) from None
