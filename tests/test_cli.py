"""The command line, end to end, on small made-up digits."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

import fusedlstm
from fusedlstm import ops, optimizers
from fusedlstm.__main__ import main
from fusedlstm.commands.cli import cli
from fusedlstm.datasets import mnist
from fusedlstm.datasets.idx import write_idx
from fusedlstm.examples import mnist as mnist_example
from tests import interrupting

SMALL = ("--units", "8", "--layers", "1", "--epochs", "2", "--batch-size", "16", "--learning-rate", "0.02")


@pytest.fixture(autouse=True)
def _states(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep states of trainings out of the user's cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def write_digits(folder: Path) -> Path:
    """Write 320 + 80 images, in which a digit is a bright bar in a row of its own over faint noise."""
    folder.mkdir(exist_ok=True)
    random = np.random.default_rng(11)
    for part, count in (("train", 320), ("t10k", 80)):
        labels = (np.arange(count) % 10).astype(np.uint8)
        images = random.integers(0, 64, (count, 28, 28), dtype=np.uint8)
        images[np.arange(count), 2 * labels + 4] = 255
        write_idx(folder / f"{part}-images-idx3-ubyte.gz", images)
        write_idx(folder / f"{part}-labels-idx1-ubyte.gz", labels)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_digits(tmp_path_factory.mktemp("digits"))


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def written(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def results(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = written(path)["results"]
    return found


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """Return the folder with all the outputs of one run, and what it printed."""
    out = tmp_path_factory.mktemp("out")
    targets = ("--save", out / "model.safetensors", "--json", out / "run.json", "--report", out / "report")
    result = run("mnist", "--data", data, *SMALL, "--seed", "3", "--threads", "2", *targets)
    assert result.exit_code == 0, result.output
    return out, result


def test_summary(trained: tuple[Path, Result], data: Path) -> None:
    out, result = trained
    content = results(out / "run.json")
    summary = result.stdout.replace("\n", " ")
    right = round(80 * content["test_accuracy"])
    assert f"{100 * content['test_accuracy']:.2f} % ({right} of 80)" in summary
    assert f"{content['test_loss']:.4f}" in summary
    assert content["kernel"] in summary
    assert "device cpu" in " ".join(summary.split())
    assert "time per epoch" in summary
    assert "320 training and 80 test digits" in summary
    words = "".join(result.stdout.split())  # long paths are folded
    for path in (data, out / "model.safetensors", out / "run.json", out / "report" / "misclassified.png"):
        assert str(path) in words
    assert result.stderr == ""


def test_json(trained: tuple[Path, Result], data: Path) -> None:
    out, _ = trained
    whole = written(out / "run.json")
    assert (whole["example"], whole["version"]) == ("mnist", fusedlstm.__version__)
    assert whole["options"] == {
        "units": 8,
        "layers": 1,
        "epochs": 2,
        "batch_size": 16,
        "learning_rate": 0.02,
        "dropout": 0.2,
        "seed": 3,
        "device": "cpu",
        "precision": "float32",
        "threads": 2,
        "instruction_set": ops.get_instruction_set(),
        "data": str(data),
        "quick": False,
        "state": None,
        "check_data": False,
        "save": str(out / "model.safetensors"),
        "report": str(out / "report"),
        "json": str(out / "run.json"),
        "quiet": False,
    }
    content = whole["results"]
    wanted = {
        "epochs": 2,
        "learning_rate": 0.02,
        "decay": False,
        "data": {
            "source": "folder",
            "folder": str(data),
            "origin": f"folder {data}",
            "subset": False,
            "train": 320,
            "test": 80,
        },
    }
    assert {name: content[name] for name in wanted} == wanted
    numbers = {"test_accuracy", "test_loss", "epoch_seconds", "device", "kernel", "history", "seconds"}
    assert set(content) == {*wanted, *numbers}
    assert set(content["history"]) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert all(len(values) == 2 for values in content["history"].values())
    assert len(content["epoch_seconds"]) == 2
    assert all(seconds > 0 for seconds in content["epoch_seconds"])
    assert content["history"]["loss"][1] < content["history"]["loss"][0]
    # Integers divided by the same number: exactly equal, whatever the batch size.
    assert content["test_accuracy"] == content["history"]["val_accuracy"][-1]
    assert ops.get_instruction_set() in content["kernel"]
    assert "float32 lstm_forward" in content["kernel"]
    assert re.search(r", [12] threads?\b", content["kernel"])  # small problems may get fewer


def test_saved_model_has_the_accuracy_that_was_printed(trained: tuple[Path, Result], data: Path) -> None:
    out, _ = trained
    model = fusedlstm.load_model(out / "model.safetensors")
    images, labels = mnist.load_mnist(data)[1]
    predicted = model.predict(images.astype(np.float32) / 255, verbose=0).argmax(axis=1)
    assert (predicted == labels).mean() == results(out / "run.json")["test_accuracy"]


def test_pictures(trained: tuple[Path, Result]) -> None:
    out, _ = trained
    pictures = sorted((out / "report").iterdir())
    assert [path.name for path in pictures] == [
        "confusion_matrix.png",
        "learning_curves.png",
        "misclassified.png",
    ]
    for path in pictures:
        assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
        assert path.stat().st_size > 5000


def test_progress_is_one_plain_line_per_epoch_without_a_terminal(trained: tuple[Path, Result]) -> None:
    _, result = trained
    assert "\x1b" not in result.stdout
    assert "\r" not in result.stdout
    lines = [line for line in result.stdout.splitlines() if "val_accuracy" in line]
    assert len(lines) == 2


@pytest.mark.parametrize("threads", ["1", "3"])
def test_a_seed_makes_a_run_repeatable_with_any_number_of_threads(
    trained: tuple[Path, Result], data: Path, tmp_path: Path, threads: str
) -> None:
    out, _ = trained
    again = tmp_path / "again.json"
    options = ("--data", data, *SMALL, "--quiet", "--json", again)
    assert run("mnist", *options, "--seed", "3", "--threads", threads).exit_code == 0
    assert results(again)["history"] == results(out / "run.json")["history"]
    assert run("mnist", *options, "--seed", "4", "--threads", threads).exit_code == 0
    assert results(again)["history"] != results(out / "run.json")["history"]


def test_every_instruction_set_and_layers(data: Path, tmp_path: Path) -> None:
    before = ops.get_instruction_set(), ops.get_num_threads()
    for name in ops.instruction_sets():
        options = (
            "--instruction-set",
            name,
            "--threads",
            "1",
            "--layers",
            "2",
            "--epochs",
            "1",
            "--units",
            "5",
        )
        result = run("mnist", "--data", data, *options, "--json", tmp_path / "run.json")
        assert result.exit_code == 0, result.output
        content = written(tmp_path / "run.json")
        assert name in content["results"]["kernel"]
        assert content["options"]["instruction_set"] == name
    assert before == (ops.get_instruction_set(), ops.get_num_threads())


def test_model_is_the_documented_one() -> None:
    model = mnist_example.build(128, 2, 0.2)
    names = [type(layer).__name__ for layer in model.layers]
    assert names == ["LSTM", "Dropout", "LSTM", "Dropout", "Dense", "Dropout", "Dense"]
    # Keras's formula: 4 ((inputs + units) units + units) for an LSTM, (inputs + 1) units for Dense.
    lstms = 4 * ((28 + 128) * 128 + 128) + 4 * ((128 + 128) * 128 + 128)
    assert model.count_params() == lstms + 129 * 32 + 33 * 10
    assert [layer.rate for layer in model.layers if isinstance(layer, fusedlstm.layers.Dropout)] == [0.2] * 3


def test_an_interrupt_before_the_command_line_is_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its import takes a while."""

    class Interrupted(types.ModuleType):
        @property
        def cli(self) -> None:
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "fusedlstm.commands.cli", Interrupted("cli"))
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 130
    assert capsys.readouterr().err == "\nInterrupted.\n"


def test_quiet(data: Path) -> None:
    result = run("mnist", "--data", data, *SMALL, "--quiet")
    assert result.exit_code == 0
    assert result.output == ""


def test_subset_is_announced_loudly(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FUSEDLSTM_DATA", str(tmp_path / "cache"))
    monkeypatch.setattr(mnist, "MIRRORS", ())
    monkeypatch.setattr(mnist, "SUBSET_FOLDER", data)
    result = run("mnist", *SMALL, "--json", tmp_path / "run.json")
    assert result.exit_code == 0, result.output
    assert "WARNING: MNIST was neither in the cache nor could it be downloaded" in result.stderr
    assert "NOT comparable" in result.stderr
    assert "SUBSET of MNIST; not comparable" in " ".join(result.stdout.split())
    assert results(tmp_path / "run.json")["data"]["subset"] is True
    assert results(tmp_path / "run.json")["data"]["source"] == "subset"
    assert "97.9 % in 3 epochs" in " ".join(result.stdout.split()), "what the full set gives"
    quiet = run("mnist", *SMALL, "--quiet")
    assert quiet.stdout == ""
    assert "NOT comparable" in quiet.stderr


def test_the_subset_is_trained_for_longer(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless an option says how long; its learning rate falls to zero, unless an option says which it is."""
    monkeypatch.setenv("FUSEDLSTM_DATA", str(tmp_path / "cache"))
    monkeypatch.setattr(mnist, "MIRRORS", ())
    small = ("--units", "4", "--layers", "1", "--json", tmp_path / "run.json")

    def training(*options: Any) -> tuple[int, float, bool]:
        assert run("mnist", *small, *options).exit_code == 0
        content = results(tmp_path / "run.json")
        assert len(content["history"]["loss"]) == content["epochs"]
        return content["epochs"], content["learning_rate"], content["decay"]

    assert training("--data", data) == (3, 0.001, False)
    monkeypatch.setattr(mnist, "SUBSET_FOLDER", data)
    assert training() == (20, 0.002, True)
    assert training("--epochs", "2") == (2, 0.002, True)
    assert training("--epochs", "2", "--learning-rate", "0.01") == (2, 0.01, False)


def test_the_rate_of_the_subset_ends_at_zero(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the last of its updates, whatever the size of a batch."""
    rates: list[Any] = []
    adam = optimizers.Adam

    def note(rate: Any) -> Any:
        rates.append(rate)
        return adam(rate)

    monkeypatch.setenv("FUSEDLSTM_DATA", str(tmp_path / "nothing"))
    monkeypatch.setattr(mnist, "MIRRORS", ())
    monkeypatch.setattr(optimizers, "Adam", note)
    small = ("--units", "4", "--layers", "1", "--epochs", "2", "--batch-size", "30", "--quiet")
    assert run("mnist", "--data", data, *small).exit_code == 0
    monkeypatch.setattr(mnist, "SUBSET_FOLDER", data)
    assert run("mnist", *small).exit_code == 0
    assert rates[0] == 0.001
    assert float(rates[1](0)) == pytest.approx(0.002)
    assert float(rates[1](2 * 11)) == pytest.approx(0, abs=1e-9)


def test_infinite_loss_gives_valid_json(data: Path, tmp_path: Path) -> None:
    options = ("--learning-rate", "1e38", "--epochs", "1", "--units", "4", "--layers", "1")
    result = run(
        "mnist", "--data", data, *options, "--json", tmp_path / "a.json", "--report", tmp_path / "report"
    )
    assert result.exit_code == 0, result.output
    assert "WARNING: the training diverged" in result.stderr
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert "NaN" not in text
    assert "Infinity" not in text
    assert len(list((tmp_path / "report").iterdir())) == 3


def test_bad_data(tmp_path: Path) -> None:
    result = run("mnist", "--data", tmp_path)
    assert result.exit_code == 1
    assert "expected MNIST's IDX files, found none named train-images-idx3-ubyte" in result.stderr
    write_digits(tmp_path)
    path = tmp_path / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-9])
    result = run("mnist", "--data", tmp_path)
    assert result.exit_code == 1
    assert "t10k-labels-idx1-ubyte.gz: expected a complete gzip file" in result.stderr


def test_failed_write_at_the_end(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: object, **_options: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(fusedlstm.Sequential, "save", fail)
    result = run("mnist", "--data", data, *SMALL, "--save", tmp_path / "a.safetensors")
    assert result.exit_code == 1
    assert "the results could not be written: disk full" in result.stderr


def test_a_failed_write_leaves_the_other_files(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: object, **_options: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(fusedlstm.Sequential, "save", fail)
    targets = ("--save", tmp_path / "a.safetensors", "--json", tmp_path / "a.json")
    result = run("mnist", "--data", data, *SMALL, *targets)
    assert result.exit_code == 1
    assert "WARNING: not written: disk full" in result.stderr
    assert "test accuracy" in result.stdout
    assert results(tmp_path / "a.json")["epochs"] == 2


def test_model_for_keras(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    result = run("mnist", "--data", data, *SMALL, "--save", tmp_path / "a.keras")
    assert result.exit_code == 0, result.output
    assert fusedlstm.load_model(tmp_path / "a.keras").built


def process(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=120, check=False
    )


def test_real_process(data: Path, tmp_path: Path) -> None:
    done = process(
        "-m", "fusedlstm", "mnist", "--data", str(data), *SMALL, "--json", str(tmp_path / "a.json")
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "test accuracy" in done.stdout
    assert results(tmp_path / "a.json")["epochs"] == 2


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("FUSEDLSTM_NUM_THREADS", "abc"),
        ("FUSEDLSTM_INSTRUCTION_SET", "z80"),
        ("FUSEDLSTM_DISABLE", "scalar"),
    ],
)
def test_wrong_environment_is_one_line(variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, value)
    done = process("-m", "fusedlstm", "info")
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(rf"Error: {variable}: .*expected .*, got '{value}'\n", done.stderr)
    # Another program gets the error itself.
    done = process("-c", "import fusedlstm")
    assert done.returncode == 1
    assert f"\nImportError: {variable}: " in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("command", [("info",), ("--help",), ("mnist", "--help")])
def test_output_that_cannot_be_written_is_one_line(command: tuple[str, ...]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "fusedlstm", *command],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
            check=False,
        )
    assert done.returncode == 1
    assert re.fullmatch(r"Error: \[Errno \d+\] No space left on device\n", done.stderr)


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGINT")
def test_interrupt_of_a_real_process(data: Path, tmp_path: Path) -> None:
    targets = ["--save", str(tmp_path / "a.safetensors"), "--json", str(tmp_path / "a.json")]
    command = [sys.executable, "-m", "fusedlstm", "mnist", "--data", str(data), *SMALL, "--epochs", "100000"]
    with interrupting.start([*command, *targets]) as job:
        assert job.stdout is not None
        assert job.stderr is not None
        while "val_accuracy" not in (line := job.stdout.readline()):
            assert line, job.stderr.read()
        job.send_signal(signal.SIGINT)
        _, errors = job.communicate(timeout=60)
    assert job.returncode == 130
    assert errors.endswith("Interrupted.\n")
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]  # what the same command goes on from
