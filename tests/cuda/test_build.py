"""What CMake decides about the CUDA kernels, and says."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.configure import cmakes, configure, program

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Configure = Callable[..., tuple[int, str]]

CODES = "sm_75 sm_80 sm_86 sm_90 sm_90a sm_100 sm_110 sm_120"
NO_GPU = "nvcc warning : Cannot find valid GPU for '-arch=native', default arch is used"


def gpus(*numbers: int) -> str:
    """Return the word of nvcc -arch=native --dryrun that tells the machine's GPUs."""
    return f"#$ gcc -D__CUDA_ARCH_LIST__={','.join(str(10 * number) for number in numbers)} -E -x c++"


def fake_nvcc(
    folder: Path, *, version: str = "13.0", native: str = NO_GPU, words: str = "", code: int = 1
) -> Path:
    """Return a program that answers as nvcc does; asked to compile, it says words and ends with code."""
    return program(
        folder / "nvcc",
        f"""case "$*" in
  *--version*) echo "Cuda compilation tools, release {version}, V{version}.1" ;;
  *--list-gpu-code*) printf '%s\\n' {CODES} ;;
  *-arch=native*) echo "{native}" >&2 ;;
  *) printf '%s\\n' "{words}" >&2; exit {code} ;;
esac""",
    )


@pytest.fixture(scope="module")
def again(tmp_path_factory: pytest.TempPathFactory) -> Configure:
    """Return a function that configures one folder again and again, which is fast, and has a last time."""
    folder = tmp_path_factory.mktemp("cuda") / "build"

    def run(cuda: str, compiler: str | Path, architectures: str = "") -> tuple[int, str]:
        options = [f"FUSEDLSTM_CUDA={cuda}", f"FUSEDLSTM_CUDA_ARCHITECTURES={architectures}"]
        code, text = configure(folder, *options, environment={"CUDACXX": str(compiler)})
        return code, " ".join(text.split())

    return run


def test_off_looks_for_nothing(again: Configure) -> None:
    code, text = again("OFF", "/no/such/compiler")
    assert code == 0, text
    assert "CUDA kernels: not compiled: FUSEDLSTM_CUDA is OFF" in text


@pytest.mark.parametrize(
    ("nvcc", "why"),
    [
        ({"version": "11.8"}, "expected nvcc of CUDA 12 or 13, got 11.8"),
        ({"version": "14.1"}, "expected nvcc of CUDA 12 or 13, got 14.1"),
        ({"version": ""}, "--version said: "),
        ({"native": gpus(70)}, "the GPUs of this machine have 70, and the kernels need 75 or later"),
        (
            {"native": gpus(90), "words": "x.h(1): error: no file nv/target\n1 error"},
            "could not compile a trial program: x.h(1): error: no file nv/target "
            "(pip install nvidia-cuda-cccl brings these headers)",
        ),
        (
            {"native": gpus(90), "words": "fatal error: cuda_runtime.h: No such file"},
            "(pip install nvidia-cuda-runtime brings CUDA's headers and libraries)",
        ),
        (
            {"native": gpus(90), "words": "/usr/bin/ld: cannot find -lcudart_static"},
            "(pip install nvidia-cuda-runtime brings CUDA's headers and libraries)",
        ),
        (
            {"native": gpus(90), "words": "#error -- unsupported GNU version! gcc versions later than 15"},
            "(CUDAHOSTCXX names a host compiler that nvcc 13.0 supports)",
        ),
        (
            {"native": gpus(90), "code": 139},
            "could not compile a trial program: nothing but its exit code, 139",
        ),
        ({"native": gpus(90), "code": 0}, "cannot use"),
    ],
)
def test_auto_goes_without(nvcc: dict[str, str], why: str, again: Configure, tmp_path: Path) -> None:
    compiler = fake_nvcc(tmp_path, **nvcc)  # type: ignore[arg-type]
    code, text = again("AUTO", compiler)
    assert code == 0, text
    assert "CUDA kernels: not compiled: " in text
    assert str(compiler) in text or "GPUs of this machine" in text
    assert why in text


def test_auto_goes_without_programs_that_are_no_nvcc(again: Configure, tmp_path: Path) -> None:
    for script in ("exit 1", "kill -9 $$", "echo hello", "echo 'nvcc: a library is not found' >&2; exit 127"):
        code, text = again("AUTO", program(tmp_path / "nvcc", script))
        assert code == 0, text
        assert "CUDA kernels: not compiled: expected nvcc of CUDA 12 or 13, but" in text
        assert "pip install nvidia-cuda-nvcc nvidia-cuda-cccl" in text
    code, text = again("AUTO", tmp_path / "missing")
    assert code == 0, text
    assert f"not compiled: CUDACXX is {tmp_path / 'missing'}, and there is no such program" in text


def test_auto_goes_without_on_a_machine_without_a_gpu(again: Configure, tmp_path: Path) -> None:
    compiler = fake_nvcc(tmp_path, words="called for nothing")
    code, text = again("AUTO", compiler)
    assert code == 0, text
    assert f"nvcc 13.0 is here, {compiler}, but no GPU that its programs can run on" in text
    assert "FUSEDLSTM_CUDA_ARCHITECTURES=all compiles for every GPU" in text
    assert "called for nothing" not in text


WORDS = r"""error: \n %s "quoted" )" )missing" ??/ */ // ;; ${nvcc} $ENV{HOME} @nvcc@ [=[ ]=] \u0041 ü 0"""


def test_the_reason_is_compiled_in(tmp_path: Path) -> None:
    """The compiler's words reach the package as they are, whatever they are."""
    compiler = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("needs a C++ compiler")
    (tmp_path / "words").write_text(WORDS, encoding="utf-8")
    nvcc = fake_nvcc(tmp_path, native=gpus(90), words=f"$(cat '{tmp_path / 'words'}')")
    code, text = configure(tmp_path / "build", environment={"CUDACXX": str(nvcc)})
    assert code == 0, text
    source = tmp_path / "say.cpp"
    source.write_text(
        '#include <cstdio>\n#include "build_notes.h"\nint main() { puts(FUSEDLSTM_CUDA_MISSING); }'
    )
    generated = tmp_path / "build" / "generated"
    subprocess.run([compiler, f"-I{generated}", str(source), "-o", str(tmp_path / "say")], check=True)
    said = subprocess.run([tmp_path / "say"], capture_output=True, check=True).stdout.decode()
    assert f"could not compile a trial program: {WORDS} (" in said


def test_a_compiler_that_hangs(again: Configure, tmp_path: Path) -> None:
    """Whoever waits for nvcc knows that, and for how long at most."""
    compiler = program(tmp_path / "nvcc", "exec sleep 100")
    start = time.monotonic()
    code, text = again("AUTO", compiler)
    assert time.monotonic() - start < 60
    assert code == 0, text
    assert f"CUDA kernels: asking {compiler} for its version, at most 15 s" in text
    assert f"but {compiler} --version said: nothing in 15 seconds" in text


def test_gpus_that_nvcc_cannot_tell(again: Configure, tmp_path: Path) -> None:
    """A failure is not taken for a machine without GPUs."""
    compiler = fake_nvcc(tmp_path, native="$(kill $$)")
    code, text = again("AUTO", compiler)
    assert code == 0, text
    assert f"asking {compiler} for the GPUs of this machine, at most" in text
    assert f"the GPUs of this machine are not known, since {compiler} --dryrun -arch=native said: " in text


def test_wrong_flags_of_nvcc(tmp_path: Path) -> None:
    """Flags that keep nvcc from compiling are named; it would be no use to install another."""
    compiler = program(
        tmp_path / "nvcc",
        f"""case "$*" in
  *--version*) echo "Cuda compilation tools, release 13.0, V13.0.1" ;;
  *--list-gpu-code*) printf '%s\\n' {CODES} ;;
  *-arch=native*) echo "{gpus(90)}" >&2 ;;
  *--no-such*) echo "nvcc fatal   : Unknown option '--no-such'" >&2; exit 1 ;;
esac""",
    )
    environment = {"CUDACXX": str(compiler), "CUDAFLAGS": "-g --no-such"}
    code, text = configure(tmp_path / "build", environment=environment)
    assert code == 0, text
    text = " ".join(text.split())
    assert "could not compile a trial program: nvcc fatal : Unknown option '--no-such'" in text
    assert "(without -g --no-such, the flags of CUDAFLAGS, CUDACXX or CMAKE_CUDA_FLAGS, it can)" in text


@pytest.mark.parametrize(
    ("native", "found"),
    [
        (gpus(90), "90"),
        (gpus(86, 90, 90), "86;90"),
        (gpus(70, 120), "120"),
        ("nvcc fatal : Unsupported gpu architecture 'compute_103'", "100"),
        ("nvcc fatal : Unsupported gpu architecture 'compute_130'", "120"),
    ],
)
def test_native(native: str, found: str, again: Configure, tmp_path: Path) -> None:
    compiler = fake_nvcc(tmp_path, native=native)
    code, text = again("AUTO", compiler)
    assert code == 0, text
    assert f"CUDA kernels: the GPUs of this machine have {found} " in text


@pytest.mark.parametrize(
    ("architectures", "message"),
    [
        ("", "FUSEDLSTM_CUDA is ON, but"),
        ("native", "FUSEDLSTM_CUDA is ON, but nvcc 13.0 is here"),
        ("all", "could not compile a trial program: broken"),
        ("80;12", "FUSEDLSTM_CUDA_ARCHITECTURES: expected native, all, or some of those from 75 on of"),
        ("87", "got 87"),
        ("newest", "FUSEDLSTM_CUDA_ARCHITECTURES: expected native, all, or numbers as in 80;90, got newest"),
    ],
)
def test_on_says_what_is_missing(architectures: str, message: str, again: Configure, tmp_path: Path) -> None:
    code, text = again("ON", fake_nvcc(tmp_path, words="broken"), architectures)
    assert code != 0
    assert message in text


def test_errors(tmp_path: Path) -> None:
    code, text = configure(tmp_path, "FUSEDLSTM_CUDA=MAYBE")
    assert code != 0
    assert "FUSEDLSTM_CUDA: expected AUTO, ON or OFF, got MAYBE" in text
    code, text = configure(tmp_path, "FUSEDLSTM_CUDA=ON", "FUSEDLSTM_SIMT=ON")
    assert code != 0
    assert "FUSEDLSTM_CUDA is ON, but this build has them for the simulated GPU" in " ".join(text.split())


def test_auto_goes_without_for_another_machine(tmp_path: Path) -> None:
    compiler = fake_nvcc(tmp_path, native=gpus(90))
    target = ("CMAKE_SYSTEM_NAME=Linux", "CMAKE_SYSTEM_PROCESSOR=riscv64")
    code, text = configure(tmp_path / "build", *target, environment={"CUDACXX": str(compiler)})
    assert code == 0, text
    assert "not compiled: this build is for another kind of machine, riscv64" in text


@pytest.mark.parametrize("cmake", cmakes())
def test_every_cmake_compiles_with_nvcc(cmake: str, tmp_path: Path) -> None:
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("nvcc is not here")
    own = program(tmp_path / "nvcc", f'exec {nvcc} "$@"')
    options = ("FUSEDLSTM_CUDA_ARCHITECTURES=75", "CMAKE_EXPORT_COMPILE_COMMANDS=ON")
    folder = tmp_path / "build"
    code, text = configure(
        folder, "FUSEDLSTM_CUDA=ON", *options, cmake=cmake, environment={"CUDACXX": str(own)}
    )
    assert code == 0, text
    assert re.search(r"15 files for 75, about [1-9]\d* min on [1-9]\d* cores; FUSEDLSTM_CUDA=OFF", text)
    commands = json.loads((folder / "compile_commands.json").read_text(encoding="utf-8"))
    kernels = {entry["file"]: entry["command"] for entry in commands if entry["file"].endswith(".cu")}
    assert len(kernels) == 15
    for file, command in kernels.items():
        assert re.findall(r"-std=\S+", command) == ["-std=c++20"]
        assert ("sm_75" in command) == ("sm_80" not in command), file
    # The compiler is gone the next time.
    own.unlink()
    code, text = configure(
        folder, "FUSEDLSTM_CUDA=AUTO", *options, cmake=cmake, environment={"CUDACXX": str(own)}
    )
    assert code == 0, text
    assert f"not compiled: CUDACXX is {own}, and there is no such program" in text
