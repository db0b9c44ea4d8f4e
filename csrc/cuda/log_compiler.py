"""Runs a compiler's command and keeps what it prints in a file beside its output: X.o.log for -o X.o."""

import subprocess
import sys
from pathlib import Path

command = sys.argv[1:]
done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
if done.returncode != 0:
    sys.stderr.write(done.stdout)
elif "-o" in command:
    output = command[command.index("-o") + 1]
    Path(f"{output}.log").write_text(done.stdout, encoding="utf-8")
sys.exit(done.returncode)
