"""Parses values as they are written on the command line: JSON, fractions, and public functions by name."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

from longtail.errors import UserError
from longtail.spec.changing import checked, takes_float
from longtail.spec.description import parameters_of
from longtail.text import unknown


def parse_value(text: str, current: Any) -> Any:
    """Parses the text right of the `=` on the command line: JSON, or a public function of the module or package of `current`.

    A function is written as `effective_number` or, with hyper-parameters, `effective_number(beta=0.999)`; fractions such as `1/3`
    are understood. Where a tuple of numbers will be replaced, they may be written with commas alone, as `0,1,2`.

    Args:
        text: text right of the `=`.
        current: the value that will be replaced.

    Raises:
        UserError: a function is expected, and the text is neither JSON nor the name of one, or numbers are expected, and the text
            holds something else.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        pass
    if isinstance(current, tuple) and current and all(isinstance(each, (int, float)) for each in current):
        return _numbers(text)
    if not callable(current):
        return _fraction(text) if isinstance(current, (int, float)) and not isinstance(current, bool) else text
    try:
        return _evaluate(ast.parse(text, mode="eval").body, current)
    except SyntaxError as error:
        raise UserError(f"'{text}' is neither JSON nor the name of a function, such as name or name(key=value).") from error


def public_functions(module: ModuleType) -> dict[str, Callable[..., Any]]:
    """Public functions and classes that a module or a package defines, by name."""
    here = module.__name__
    return {
        name: thing
        for name, thing in vars(module).items()
        if not name.startswith("_") and inspect.isroutine(thing) | inspect.isclass(thing) and thing.__module__.startswith(here)
    }


def _evaluate(node: ast.expr, current: Callable[..., Any]) -> Any:
    if isinstance(node, ast.Name):
        return _sibling(current, node.id)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.args:
        function = _sibling(current, node.func.id)
        known = parameters_of(function)
        for keyword in node.keywords:
            if keyword.arg not in known:
                raise UserError(f"{node.func.id} has no '{keyword.arg}'; it has {', '.join(known)}.")
        values = {str(k.arg): _argument(k.value, known[str(k.arg)], function, str(k.arg)) for k in node.keywords}
        return partial(function, **values)
    raise UserError(f"'{ast.unparse(node)}' is not understood; write name or name(key=value).")


def _argument(node: ast.expr, current: Any, function: Callable[..., Any], name: str) -> Any:
    """The value of a keyword; a number is written as the default that it replaces."""
    value = _number_or_name(node, current or function)
    if isinstance(value, float) and type(current) is int and takes_float(function, name):
        current = float(current)
    return value if isinstance(value, str) or callable(value) else checked(value, current, name)


def _number_or_name(node: ast.expr, current: Any) -> Any:
    if isinstance(node, (ast.Name, ast.Call)) and callable(current):
        return _evaluate(node, current)
    try:
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            return ast.literal_eval(node.left) / ast.literal_eval(node.right)
        return ast.literal_eval(node)
    except (ValueError, TypeError, ZeroDivisionError) as error:
        raise UserError(f"'{ast.unparse(node)}' is not a value; write a number, a fraction such as 1/3, or a name.") from error


def _numbers(text: str) -> list[float]:
    """Numbers, or fractions, with commas between them."""
    numbers = [_fraction(part.strip()) for part in text.split(",")]
    try:
        return [float(number) for number in numbers]
    except ValueError as error:
        raise UserError(f"'{text}' is no list of numbers; write them with commas alone, as 0,1,2.") from error


def _fraction(text: str) -> Any:
    above, slash, below = text.partition("/")
    try:
        return float(above) / float(below) if slash else text
    except (ValueError, ZeroDivisionError):
        return text


def _sibling(current: Callable[..., Any], name: str) -> Callable[..., Any]:
    function = current.func if isinstance(current, partial) else current
    module = importlib.import_module(function.__module__)
    package = importlib.import_module(module.__name__.rpartition(".")[0]) if module.__name__.count(".") > 1 else module
    known = public_functions(module) | public_functions(package)
    if name not in known:
        raise UserError(unknown(f"function in {module.__name__}", name, sorted(known)))
    return known[name]
