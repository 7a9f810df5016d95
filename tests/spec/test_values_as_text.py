"""Values as text, as --set and --with take them."""

from functools import partial

import pytest
from test_recipe import SETTING
from torch.optim import SGD, AdamW

from longtail import recipes, steps, weighting
from longtail.errors import UserError
from longtail.heads import CosineHead
from longtail.losses import CrossEntropyLoss, FocalLoss, GCLLoss, clouds
from longtail.spec.parsing import parse_value


@pytest.mark.parametrize(
    ("text", "current", "value"),
    [
        ("0.3", 1.0, 0.3),
        ("true", False, True),
        ("null", 1.0, None),
        ("[1, 2]", (0,), [1, 2]),
        ("0,1,2", (0.0, 1.0, 2.0), [0, 1, 2]),
        ("1/3, 2/3", (0.8, 0.9), [1 / 3, 2 / 3]),
        ("-0.5,2.5", (0.0, 1.0, 2.0), [-0.5, 2.5]),
        ("0,1", "train", "0,1"),
        ("eval", "train", "eval"),
        ("effective_number", weighting.uniform, weighting.effective_number),
        ("power", partial(weighting.effective_number, beta=0.9), weighting.power),
        ("power", clouds.log, clouds.power),
        ("FocalLoss", CrossEntropyLoss, FocalLoss),
        ("GCLLoss", CrossEntropyLoss, GCLLoss),
        ("CosineHead", recipes.ce(SETTING).head, CosineHead),
        ("mixup", steps.classify, steps.mixup),
        ("AdamW", partial(SGD, lr=0.1), AdamW),
    ],
)
def test_parse_value_reads_json_and_names(text, current, value):
    assert parse_value(text, current) == value


@pytest.mark.parametrize("text", ["0,a,2", "0,,2", "tail", "1/0,1", ""])
def test_numbers_with_commas_are_numbers(text):
    with pytest.raises(UserError, match=f"'{text}' is no list of numbers; write them with commas alone, as 0,1,2"):
        parse_value(text, (0.0, 1.0))


@pytest.mark.parametrize(
    ("text", "current", "function", "keywords"),
    [
        ("effective_number(beta=0.9)", weighting.uniform, weighting.effective_number, {"beta": 0.9}),
        ("power(exponent=1/3)", clouds.log, clouds.power, {"exponent": 1 / 3}),
        ("power(exponent=-1/2)", weighting.uniform, weighting.power, {"exponent": -0.5}),
        ("GCLLoss(scale=20, cloud=power)", GCLLoss, GCLLoss, {"scale": 20, "cloud": clouds.power}),
        ("SGD(lr=0.2, nesterov=True)", partial(SGD, lr=0.1), SGD, {"lr": 0.2, "nesterov": True}),
        ("SGD(lr=0.2, momentum=0.9)", partial(SGD, lr=0.1), SGD, {"lr": 0.2, "momentum": 0.9}),
        ("deferred(rule=effective_number)", weighting.uniform, weighting.deferred, {"rule": weighting.effective_number}),
    ],
)
def test_parse_value_reads_hyper_parameters(text, current, function, keywords):
    parsed = parse_value(text, current)
    assert (parsed.func, parsed.keywords) == (function, keywords)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("efective_number", "no function in longtail.weighting 'efective_number'. Did you mean 'effective_number'"),
        ("effective_number(betta=1)", "effective_number has no 'betta'; it has .*beta"),
        ("effective_number(0.9)", r"not understood; write name or name\(key=value\)"),
        ("effective number", "neither JSON nor the name of a function"),
        ("__import__('os')", "not understood"),
        ("torch.load(f=1)", "not understood"),
        ("effective_number(beta=print('x'))", "not a value|not understood"),
    ],
)
def test_parse_value_says_what_it_wants(text, said, capsys):
    with pytest.raises(ValueError, match=said):
        parse_value(text, weighting.uniform)
    assert capsys.readouterr().out == "", "nothing is executed"
