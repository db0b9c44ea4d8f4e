"""Show what registers and memory the CUDA compiler gave each kernel, which `make cuda` wrote down.

python bench/cuda_resources.py build/cuda/resources.json
python bench/cuda_resources.py --collect build/cuda resources.json
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).parents[1]

_KERNEL = re.compile(r"Compiling entry function '(?P<symbol>\w+)' for 'sm_(?P<architecture>\d+)'")
# A kernel's own line, and those of functions that it calls.
_MEMORY = re.compile(
    r"(?P<stack>\d+) bytes stack frame, (?P<spill_stores>\d+) bytes spill stores, "
    r"(?P<spill_loads>\d+) bytes spill loads"
)
_REGISTERS = re.compile(r"Used (?P<registers>\d+) registers")
_SHARED = re.compile(r"(\d+) bytes smem")

Kernel = dict[str, Any]


def read_log(text: str) -> list[Kernel]:
    """Return the kernels of what `ptxas -v` printed, one for each architecture.

    Returns
    -------
    list of dict
        ``symbol``, ``architecture``, ``registers``, and in bytes ``spill_stores``, ``spill_loads``, ``stack``
        and ``shared`` (static shared memory).

    Raises
    ------
    ValueError
        A kernel lacks a line.
    """
    kernels = []
    starts = list(_KERNEL.finditer(text))
    for i, start in enumerate(starts):
        block = text[start.end() : starts[i + 1].start() if i + 1 < len(starts) else len(text)]
        registers = _REGISTERS.search(block)
        memory = [{k: int(v) for k, v in match.groupdict().items()} for match in _MEMORY.finditer(block)]
        if registers is None or not memory:
            raise ValueError(f"{start['symbol']}: expected its registers and memory, got {block!r}")
        used = block[registers.start() : block.find("\n", registers.start())]
        shared = _SHARED.search(used)
        kernels.append(
            {
                "symbol": start["symbol"],
                "architecture": int(start["architecture"]),
                "registers": int(registers["registers"]),
                "spill_stores": sum(m["spill_stores"] for m in memory),
                "spill_loads": sum(m["spill_loads"] for m in memory),
                "stack": max(m["stack"] for m in memory),
                "shared": int(shared[1]) if shared else 0,
            }
        )
    return kernels


def short_names(symbols: list[str]) -> list[str]:
    """Return names of kernels without namespaces and parameters: ``cell_forward_kernel<float, 1, Plain>``.

    Raises
    ------
    RuntimeError
        There is no c++filt, which comes with GCC.
    """
    program = shutil.which("c++filt")
    if program is None:
        raise RuntimeError("c++filt: expected it on the PATH, as a part of binutils, and it is not there")
    text = "\n".join(symbols)
    names = subprocess.run([program], input=text, capture_output=True, text=True, check=True).stdout
    return [_short(name) for name in names.splitlines()]


def _short(name: str) -> str:
    name = re.sub(r"\(anonymous namespace\)::|\b(?!std\b)\w+::", "", name.removeprefix("void "))
    depth = 0
    for i, c in enumerate(
        name
    ):  # Parameters begin at the first parenthesis outside the template's arguments.
        depth += (c == "<") - (c == ">")
        if c == "(" and depth == 0:
            name = name[:i]
            break
    return name.replace(" >", ">")


def collect(build: Path) -> list[Kernel]:
    """Return all kernels of a build folder, with ``name`` and ``source``, sorted by them and architecture.

    Raises
    ------
    ValueError
        There are none, or a log is incomplete.
    """
    kernels = []
    for log in sorted(build.glob("CMakeFiles/*.dir/**/*.cu.o.log")):
        source = log.relative_to(build).parts[2:]
        path = Path(*source[:-1], source[-1].removesuffix(".o.log"))
        if (ROOT / path).exists():
            kernels += [{"source": str(path), **kernel} for kernel in read_log(log.read_text("utf-8"))]
    if not kernels:
        raise ValueError(
            f"{build}: expected the compiler's logs, as make cuda leaves them, and there are none"
        )
    for kernel, name in zip(kernels, short_names([k["symbol"] for k in kernels]), strict=True):
        kernel["name"] = name
    return sorted(kernels, key=lambda k: (k["source"], k["name"], k["architecture"]))


def table(kernels: list[Kernel]) -> str:
    """Return a table in Markdown, a line for a kernel, its registers in the order of the architectures."""
    architectures = sorted({k["architecture"] for k in kernels})
    head = ["kernel", *(f"sm_{a}" for a in architectures), "stack", "shared", "spilled"]
    lines = [head, ["---"] * len(head)]
    for name in dict.fromkeys(k["name"] for k in kernels):
        own = {k["architecture"]: k for k in kernels if k["name"] == name}
        registers = [str(own[a]["registers"]) if a in own else "" for a in architectures]
        most = [max(k[what] for k in own.values()) for what in ("stack", "shared")]
        spilled = max(k["spill_stores"] + k["spill_loads"] for k in own.values())
        lines.append([f"`{name}`", *registers, *map(str, most), str(spilled)])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--collect", "build", type=click.Path(path_type=Path, exists=True, file_okay=False))
def main(file: Path, build: Path | None) -> None:
    """Print FILE's kernels: registers of a thread, and the most bytes of any architecture.

    With --collect, write FILE from the logs in a build folder instead.
    """
    if build is not None:
        text = json.dumps({"kernels": collect(build)}, indent=1)
        file.write_text(text + "\n", encoding="utf-8")
        return
    kernels = json.loads(file.read_text(encoding="utf-8"))["kernels"]
    print(table([k for k in kernels if k["source"].startswith("csrc/")]))


if __name__ == "__main__":
    main()
