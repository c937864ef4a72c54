"""Check the files in deployments/ as far as possible without Docker and Kubernetes."""

from __future__ import annotations

import importlib
import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from support.command import ROOT

FOLDER = ROOT / "deployments"
DEPLOYMENTS = yaml.safe_load((FOLDER / "prefect.yaml").read_text())["deployments"]
MANIFESTS = [*yaml.safe_load_all((FOLDER / "kubernetes/worker.yaml").read_text())]
TEMPLATE = json.loads((FOLDER / "kubernetes/base-job-template.json").read_text())


def checked(*command: str) -> None:
    """Run a linter of the virtual environment; it must succeed."""
    program = Path(sys.executable).with_name(command[0])
    done = subprocess.run([program, *command[1:]], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def flow_of(deployment: dict[str, Any]) -> Any:
    module, _, name = deployment["entrypoint"].rpartition(".")
    return getattr(importlib.import_module(module), name)


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda d: f"{d['entrypoint']} {d['name']}")
def test_deployment_parameters_match_the_flow(deployment: dict[str, Any]) -> None:
    from prefect.utilities.callables import parameter_schema

    schema = parameter_schema(flow_of(deployment)).model_dump()
    validator = Draft202012Validator({**schema, "required": []})
    validator.validate(deployment.get("parameters", {}))
    assert set(deployment.get("parameters", {})) <= set(schema["properties"])


def test_form_describes_and_bounds_every_field() -> None:
    from prefect.utilities.callables import parameter_schema

    for deployment in DEPLOYMENTS:
        schema = parameter_schema(flow_of(deployment)).model_dump()
        for name, field in schema["properties"].items():
            assert field.get("description"), (deployment["entrypoint"], name)
    experiment = next(d for d in DEPLOYMENTS if d["entrypoint"].endswith("experiment"))
    fields = parameter_schema(flow_of(experiment)).model_dump()["properties"]
    assert fields["recipe"]["enum"] == ["digits", "cifar10", "classroom", "photos"]
    assert fields["dispatch"]["enum"] == ["inline", "workers"]
    whole = next(kind for kind in fields["max_epochs"]["anyOf"] if kind["type"] == "integer")
    assert (whole["minimum"], whole["maximum"]) == (1, 1000)


@pytest.mark.parametrize("name", ["crashed", "failed", "late"])
def test_notification_is_json_for_any_run_name(name: str) -> None:
    """Prefect's form allows any name of a run."""
    from prefect.server.utilities.user_templates import render_user_template_sync

    automation = yaml.safe_load((FOLDER / f"automations/{name}.yaml").read_text())
    run = {"name": 'a "night"\\n', "id": "1", "state": {"name": "Failed"}}
    payload = render_user_template_sync(
        automation["actions"][0]["payload"], {"flow": {"name": "experiment"}, "flow_run": run}
    )
    assert json.loads(payload)["text"].startswith('relevo: experiment a "night"\\n ')


def test_yaml_is_tidy() -> None:
    rules = (
        "{extends: default, rules: {line-length: {max: 112}, comments: {min-spaces-from-content: 1},"
        " braces: {max-spaces-inside: 0}, quoted-strings: disable}}"
    )
    checked("yamllint", "--strict", "-d", rules, "deployments")


def test_dockerfile_and_scripts_are_sound() -> None:
    checked("hadolint", "deployments/docker/Dockerfile")
    for script in FOLDER.glob("docker/*.sh"):
        subprocess.run(["sh", "-n", str(script)], check=True)
        assert script.stat().st_mode & stat.S_IXUSR


def test_compose_file_is_valid() -> None:
    checked(
        "check-jsonschema",
        "--builtin-schema",
        "vendor.compose-spec",
        "deployments/docker/compose.yaml",
    )
    compose = yaml.safe_load((FOLDER / "docker/compose.yaml").read_text())
    for name, service in compose["services"].items():
        assert service.get("restart"), name
        for needed in service.get("depends_on", {}):
            assert needed in compose["services"]
        for secret in service.get("secrets", []):
            title = secret["source"] if isinstance(secret, dict) else secret
            assert title in compose["secrets"], (name, title)
        if "relevo" in service["image"]:
            assert service["user"] != "0"
    assert compose["services"]["server"]["ports"] == ["127.0.0.1:4200:4200"]


def test_images_of_others_can_be_pinned_by_digest() -> None:
    guide = (FOLDER / "README.md").read_text()
    image = (FOLDER / "docker/Dockerfile").read_text()
    assert re.findall(r"^FROM (.+)$", image, re.M) == ["${PYTHON_IMAGE}"]
    places = dict(re.findall(r"^ARG (\w+_IMAGE)=(.+)$", image, re.M))
    compose = yaml.safe_load((FOLDER / "docker/compose.yaml").read_text())
    for name, service in compose["services"].items():
        if "build" in service:
            assert "PYTHON_IMAGE" in service["build"]["args"], name
        else:
            place = re.fullmatch(r"\$\{(\w+_IMAGE):-(.+)\}", service["image"])
            assert place, name
            places[place[1]] = place[2]
    assert len(places) == 3
    for name, tag in places.items():
        assert f"{name}={tag}@sha256:..." in guide
    assert "image" in TEMPLATE["variables"]["properties"]


def test_container_users_may_write_where_they_must() -> None:
    """A named volume gets owner and mode of the image's folder, and belongs to root if there is none."""
    image = (FOLDER / "docker/Dockerfile").read_text().replace("\\\n", " ")
    made = re.search(r"^RUN install -d -o 1000 -g 0 -m 0775 (.+)$", image, re.M)
    assert made
    folders = set(made[1].split())
    compose = yaml.safe_load((FOLDER / "docker/compose.yaml").read_text())
    mounts = {
        volume.partition(":")[2]
        for service in compose["services"].values()
        for volume in service.get("volumes", [])
        if "relevo" in service["image"]
    }
    assert mounts
    # A user without an entry in passwd gets a home from the environment.
    named = dict(re.findall(r"\b(HOME|PREFECT_HOME)=(\S+)", image))
    assert set(named) == {"HOME", "PREFECT_HOME"}
    assert mounts | set(named.values()) <= folders


def test_images_and_files_hold_no_secret() -> None:
    for path in (p for p in FOLDER.rglob("*") if p.is_file() and "secrets" not in p.parts):
        for line in path.read_text().splitlines():
            named = re.search(r"(?i)(password|secret_access_key|auth_string)\w*[=:]\s*(\S+)", line)
            harmless = ("...", "{file:", "/run/secrets/", '"admin:$(random)"', '"$(random)"')
            assert named is None or named[2].startswith(harmless), f"{path}: {line}"
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    assert "deployments/docker/secrets" in ignored


def test_generated_secrets_stay_and_reach_a_command(tmp_path: Path) -> None:
    folder = tmp_path / "docker"
    folder.mkdir()
    for name in ("make-secrets.sh", "with-secrets.sh"):
        text = (FOLDER / "docker" / name).read_text()
        (folder / name).write_text(text.replace("/run/secrets", str(folder / "secrets")))
    for _ in range(2):
        subprocess.run(["sh", str(folder / "make-secrets.sh")], check=True)
        secrets = {path.name: path.read_text() for path in (folder / "secrets").iterdir()}
        assert re.fullmatch(r"admin:[0-9a-f]{48}", secrets["PREFECT_API_AUTH_STRING"])
    command = ["sh", str(folder / "with-secrets.sh"), "printenv", "AWS_SECRET_ACCESS_KEY"]
    seen = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ})
    assert seen.stdout.strip() == secrets["AWS_SECRET_ACCESS_KEY"]
    assert all(p.stat().st_mode & 0o77 == 0 for p in (folder / "secrets").iterdir())


def test_kubernetes_manifests_are_valid() -> None:
    import kubernetes_validate

    for manifest in [*MANIFESTS, filled(TEMPLATE["job_configuration"]["job_manifest"])]:
        kubernetes_validate.validate(manifest, "1.30", strict=True)


def test_stage_job_asks_for_one_gpu_and_runs_unprivileged() -> None:
    pod = TEMPLATE["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]
    job = filled(TEMPLATE["job_configuration"]["job_manifest"])["spec"]["template"]["spec"]
    assert job["containers"][0]["resources"]["limits"] == {"memory": "16Gi", "nvidia.com/gpu": 1}
    assert pod["securityContext"]["runAsNonRoot"]
    text = json.dumps(TEMPLATE["job_configuration"])
    known = set(TEMPLATE["variables"]["properties"])
    assert set(re.findall(r"{{ (\w+) }}", text)) == known


def filled(value: Any) -> Any:
    """Fill the job template with its variables' defaults, as Prefect's worker does."""
    defaults = {
        name: about.get("default", {"object": {}, "integer": 60}.get(about["type"], "x"))
        for name, about in TEMPLATE["variables"]["properties"].items()
    }
    defaults |= {
        "command": ["prefect", "flow-run", "execute"],
        "env": [{"name": "A", "value": "1"}],
    }
    if isinstance(value, dict):
        return {key: filled(part) for key, part in value.items()}
    if isinstance(value, list):
        return [filled(part) for part in value]
    if isinstance(value, str) and (whole := re.fullmatch(r"{{ (\w+) }}", value)):
        return defaults[whole[1]]
    if isinstance(value, str):
        return re.sub(r"{{ (\w+) }}", lambda found: str(defaults[found[1]]), value)
    return value
