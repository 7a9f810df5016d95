"""Options are declared once: the command line, `longtail.train` and the messages have the same ones."""

import inspect
import shlex
import subprocess
import sys
from dataclasses import fields
from functools import partial

import pytest
import typer.main
from torch.optim import SGD

import longtail
from longtail.cli.app import app
from longtail.cli.options import as_request, flag, in_flags, names_in
from longtail.errors import UserError
from longtail.losses import GCLLoss, clouds
from longtail.recipes import gcl
from longtail.spec.changing import change
from longtail.spec.description import digest
from longtail.weighting import deferred, effective_number, power
from longtail.workflow.command import command_of
from longtail.workflow.request import Request
from longtail.workflow.resolve import chosen_recipe, chosen_setting

NAMES = [each.name for each in fields(Request)]
COMMANDS = typer.main.get_command(app).commands


@pytest.mark.parametrize("each", fields(Request)[1:], ids=lambda each: each.name)
def test_every_field_is_an_option_of_train_with_its_help_and_default(each):
    option = next(option for option in COMMANDS["train"].params if option.name == each.name)
    assert option.opts == [flag(each.name)]
    pair = each.metadata["flag"].partition("/")[2]
    assert option.secondary_opts == ([pair] if pair else [])
    assert option.help.startswith(each.metadata["help"])
    if each.name not in ("variants", "changes"):
        assert option.default == each.default


def test_the_python_function_has_the_same_options():
    parameters = inspect.signature(longtail.train).parameters
    of_several = ("jobs", "together")
    assert [*(name for name in NAMES if name not in of_several), "watcher"] == list(parameters)
    plain = [each for each in fields(Request)[1:] if each.name not in ("variants", "changes", *of_several)]
    assert {each.name: parameters[each.name].default for each in plain} == {each.name: each.default for each in plain}
    assert parameters["variants"].default == parameters["changes"].default == {}
    assert parameters["epochs"].annotation == int | None
    for each in (each for each in fields(Request) if each.name not in of_several):
        assert f"{each.name}: {each.metadata['help']}" in longtail.train.__doc__


def test_what_commands_have_in_common_is_declared_once():
    for command, names in (("demo", ("runs", "epochs")), ("table", ("runs",)), ("evaluate", ("groups",)), ("show", ("size",))):
        for name in names:
            shown, whole = (next(o for o in COMMANDS[c].params if o.name == name) for c in (command, "train"))
            assert (shown.opts, shown.help) == (whole.opts, whole.help)


@pytest.mark.parametrize(
    ("sentence", "said"),
    [
        ("`epochs` must be at least 1.", "--epochs must be at least 1."),
        ("add `val=0.1` or leave out `skip_corrupt`.", "add --val 0.1 or leave out --skip-corrupt."),
        ("try `changes={'stages.0.optimizer.lr': 0.01}`,", "try --set stages.0.optimizer.lr=0.01,"),
        ("add `trust_code=True`.", "add --trust-code."),
        ("`longtail inspect` and `lr=1` stay.", "`longtail inspect` and `lr=1` stay."),
    ],
)
def test_arguments_are_said_as_flags(sentence, said):
    assert in_flags(sentence) == said


def test_pairs_become_mappings():
    request = as_request({"data": "x", "variants": ["cloud=log", "a=b=c"], "changes": None, "epochs": 3})
    assert request == Request("x", variants={"cloud": "log", "a": "b=c"}, epochs=3)
    with pytest.raises(UserError, match=r"--set takes PATH=VALUE; got 'scale'"):
        as_request({"data": "x", "changes": ["scale"]})


@pytest.mark.parametrize(
    "request_",
    [
        Request("my photos", "gcl", seed=3, variants={"cloud": "log"}, changes={"stages.0.loss.scale": "20"}),
        Request("cifar10_lt", "ce", imbalance=100, pretrained=False, deterministic=True, budget="common", val=0.1),
        Request("photos", "my_file.py:drw", pretrained=True, backbone="resnet18", views=8, protocol="paper"),
    ],
    ids=["variants", "flags", "own"],
)
def test_the_command_that_a_run_records_is_the_request(request_):
    words = shlex.split(command_of(request_))
    assert words[:2] == ["longtail", "train"]
    context = COMMANDS["train"].make_context("train", words[2:])
    assert as_request(context.params) == request_


def test_the_recorded_command_leaves_out_what_has_no_part_in_the_result():
    asked = Request("photos", "ce", runs="elsewhere", jobs=2, fresh=True, candidates="la", refit=False, groups="auto")
    assert command_of(asked) == "longtail train photos --method ce"
    weighed = Request("photos", "logit_adjusted", prior="use.csv", variants={"target": (0.5, 0.5)})
    assert command_of(weighed) == "longtail train photos --method logit_adjusted --with 'target=[0.5, 0.5]'"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("stages.1.resample", partial(deferred, rule=partial(effective_number, beta=0.99), start=0.25)),
        ("stages.0.loss", partial(GCLLoss, scale=20.0, cloud=partial(clouds.power, exponent=1 / 3))),
        ("stages.0.optimizer", partial(SGD, lr=0.2, nesterov=True, momentum=0.9)),
        ("stages.1.resample", power),
    ],
)
def test_a_changed_function_is_recorded_as_the_command_line_reads_it(path, value):
    words = shlex.split(command_of(Request("digits_lt", "gcl", changes={path: value})))
    asked = as_request(COMMANDS["train"].make_context("train", words[2:]).params)
    setting = chosen_setting(asked)[0]
    assert digest(chosen_recipe(asked, setting)) == digest(change(gcl(setting), path, value))


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("", ()),
        ("a\nb", ("a", "b")),
        ("auto", ("auto",)),
        ("a,b c, d", ("a", "b c", "d")),
        ('"a, b",c', ("a, b", "c")),
        ('"6"" bar",e', ('6" bar', "e")),
    ],
)
def test_names_of_classes_are_a_line_of_csv(line, names):
    assert names_in(line) == names


def test_help_loads_no_torch():
    code = "import sys; import longtail.cli.app; assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("command", ["evaluate", "predict", "tune", "compare", "report"])
def test_the_help_of_a_finished_run_speaks_of_the_run(command):
    said = {each.name: each.help for each in COMMANDS[command].params}
    assert said["prior"].endswith("; those that the run was made for if not given.")
    assert said.get("views", "; those that the run was evaluated with if not given.").endswith(
        "; those that the run was evaluated with if not given."
    )
