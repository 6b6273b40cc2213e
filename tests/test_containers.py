"""What the images and the compose file promise: pinned, not root, on the loopback, read-only, secrets in files."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.models.engines import find_engine
from components.records import Bundle
from components.serving.places import places_of, read_places
from components.serving.releases import write_release
from components.serving.requirements import REQUIRED
from components.settings import read_settings

PROJECT = Path(__file__).resolve().parent.parent
DOCKER = PROJECT / "docker"
COMPOSE: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (DOCKER / "Dockerfile").read_text(encoding="utf-8")
PINS = {line.partition("==")[0] for line in (PROJECT / "constraints.txt").read_text(encoding="utf-8").split()}
DIGEST = re.compile(r"[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}")
ENDS = {"bucket"}  # does its work and ends
KUBERNETES = sorted((DOCKER / "kubernetes").glob("*.yaml"))


def requirements(name: str) -> list[str]:
    lines = (DOCKER / name).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def tool(name: str) -> str:
    return shutil.which(name, path=str(Path(sys.executable).parent)) or pytest.skip(f"{name} is not installed")


@pytest.mark.parametrize("file", sorted(path.name for path in DOCKER.glob("requirements-*.txt")))
def test_every_package_of_an_image_is_pinned(file: str):
    assert {canonical(name) for name in requirements(file)} <= PINS


def test_what_the_worker_installs_is_pinned():
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    needs = project["dependencies"] + extras["chinese"] + extras["s3"]
    assert {canonical(re.split(r"[<>=\[;]", need)[0]) for need in needs} <= PINS


@pytest.mark.parametrize(("file", "engine"), [("", "openvino"), ("-torch", "torch")])
def test_the_endpoint_image_holds_what_a_bundle_needs_and_no_more(file: str, engine: str):
    assert set(requirements(f"requirements-endpoint{file}.txt")) == {*REQUIRED, *find_engine(engine).packages}


def test_every_pip_install_follows_the_constraints():
    installs = re.findall(r"pip install [^&;\n]*", DOCKERFILE)
    assert installs
    for command in installs:
        assert "-c constraints.txt" in command or "constraints.txt)" in command or "--no-deps" in command, command


def test_images_of_others_are_pinned_by_digest():
    found = [each["image"] for each in SERVICES.values() if "build" not in each]
    found += re.findall(r"^ARG PYTHON_IMAGE=(.*)$", DOCKERFILE, re.MULTILINE)
    assert len(found) == 5
    for image in found:
        assert DIGEST.fullmatch(image), image


def test_no_image_ends_as_root():
    stages = re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)[1:]
    built = {each["build"]["target"] for each in SERVICES.values() if "build" in each}
    assert built == {"server", "worker", "endpoint"}
    for stage in stages:
        if stage.splitlines()[0].rpartition(" AS ")[2] in built:
            assert re.findall(r"^USER (.*)$", stage, re.MULTILINE)[-1:] == ["10001:10001"]
            assert "HEALTHCHECK" in stage


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_service_is_hardened(name: str):
    service = SERVICES[name]
    assert service["profiles"]
    assert int(service["user"].partition(":")[0]) > 0
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    for port in service.get("ports", []):
        assert port.startswith("127.0.0.1:"), port


@pytest.mark.parametrize("name", sorted(set(SERVICES) - ENDS))
def test_a_service_says_whether_it_is_well(name: str):
    assert "healthcheck" in SERVICES[name] or "HEALTH_URL" in SERVICES[name].get("environment", {}) or "worker" in name


def test_who_depends_on_a_service_waits_until_it_is_well():
    for service in SERVICES.values():
        for name, need in service.get("depends_on", {}).items():
            assert need["condition"] == ("service_completed_successfully" if name in ENDS else "service_healthy")
            assert name in SERVICES


def documented_commands() -> list[tuple[str, set[str]]]:
    """Each command for Compose in the documents, with the profiles that are enabled where a reader is by then."""
    text = (PROJECT / "docs" / "containers.md").read_text(encoding="utf-8")
    found, enabled = [], set[str]()
    pattern = r"export COMPOSE_PROFILES=(\S+)|^docker compose (.+?)(?:\s+#.*)?$|`docker compose ([^`]+)`"
    for profiles, line, inline in re.findall(pattern, text, re.MULTILINE):
        enabled = set(profiles.split(",")) if profiles else enabled
        if command := " ".join((line or inline).split()):
            found.append((command, set(re.findall(r"--profile (\S+)", command)) or enabled))
    return found


@pytest.mark.parametrize(("command", "enabled"), documented_commands())
def test_a_documented_command_has_the_profiles_of_all_that_its_services_need(command: str, enabled: set[str]):
    there = {name for name, service in SERVICES.items() if enabled & set(service["profiles"])}
    words = [word for word in re.sub(r"--profile \S+", "", command).split() if not word.startswith("-")]
    named = [word for word in words[1:] if word in SERVICES][:1]
    wanted = set(named) or there
    assert wanted, "no profile is enabled, so nothing would happen"
    while more := {need for name in wanted for need in SERVICES[name].get("depends_on", {})} - wanted:
        wanted |= more
    assert wanted - set(named) <= there


def test_databases_and_the_store_are_not_published_and_have_no_way_out():
    assert COMPOSE["networks"]["back"]["internal"] is True
    for name in ("postgres", "s3"):
        assert SERVICES[name]["networks"] == ["back"]
        assert "ports" not in SERVICES[name]


def test_secrets_come_from_files_that_git_and_the_images_never_see():
    for service in SERVICES.values():
        named = set(service.get("secrets", []))
        assert named <= set(COMPOSE["secrets"])
        for key, value in service.get("environment", {}).items():
            if re.search(r"(PASSWORD|SECRET|TOKEN|AUTH_STRING|_KEY)", key):
                assert value.removeprefix("/run/secrets/") in named, key
    assert "/docker/secrets/" in (PROJECT / ".gitignore").read_text().splitlines()
    ignored = (PROJECT / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    assert not [line for line in ignored if line.startswith("!") and "secret" in line and "with-secrets" not in line]


def test_make_secrets_makes_what_the_compose_file_names_once(tmp_path: Path):
    shutil.copy(DOCKER / "make-secrets", tmp_path)
    subprocess.run([tmp_path / "make-secrets"], check=True, capture_output=True)
    made = {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
    assert set(made) == set(COMPOSE["secrets"])
    credentials = json.loads(made["s3_identities.json"])["identities"][0]["credentials"][0]
    assert f"aws_secret_access_key = {credentials['secretKey']}" in made["s3_credentials"]
    again = subprocess.run([tmp_path / "make-secrets"], check=True, capture_output=True)
    assert again.stdout == b""
    assert made == {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}


def with_secrets(environment: dict[str, str], *command: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": "/usr/bin:/bin", **environment}
    return subprocess.run([DOCKER / "with-secrets", *command], env=environment, capture_output=True, text=True)


def test_a_secret_in_a_file_becomes_a_variable_of_the_command(tmp_path: Path):
    (tmp_path / "password").write_text("a $b 'c' \"d\"\n")
    done = with_secrets({"DB_PASSWORD__FILE": str(tmp_path / "password"), "OTHER_FILE": "x"}, "env")
    lines = done.stdout.splitlines()
    assert "DB_PASSWORD=a $b 'c' \"d\"" in lines
    assert "OTHER_FILE=x" in lines
    assert not [line for line in lines if line.startswith("DB_PASSWORD__FILE")]


def test_a_secret_that_is_missing_is_one_sentence_and_a_remedy(tmp_path: Path):
    done = with_secrets({"DB_PASSWORD__FILE": str(tmp_path / "none")}, "env")
    assert done.returncode == 2
    assert done.stderr.startswith(f"DB_PASSWORD__FILE names {tmp_path}/none, which cannot be read.\nTo fix: ")


def launcher() -> Any:
    spec = importlib.util.spec_from_file_location("launcher", DOCKER / "endpoint.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_endpoint_serves_what_the_release_file_of_its_model_names(tmp_path: Path):
    settings = read_settings({"REBERT_HOME": str(tmp_path)}, tmp_path)
    write_release(settings, "shop", Bundle("shop:1", Path("/bentos/shop/1"), 1, "0" * 64))
    environment = {"REBERT_HOME": str(tmp_path), "REBERT_MODEL": "shop", "REBERT_ENDPOINT_HOME": "/own"}
    assert launcher().bundle_of(environment) == Path("/bentos/shop/1")
    theirs, ours = read_places(launcher().places(environment)), places_of(settings, "shop")
    assert (theirs.release, theirs.trial, theirs.keys) == (ours.release, ours.trial, ours.keys)
    assert (theirs.feedback, theirs.requests) == (Path("/own/shop.jsonl"), Path("/own/logs/requests-shop.jsonl"))
    assert theirs.trial_end == Path("/own/shop.ended.json")  # the home folder is not to be written


def test_a_bundle_of_its_own_follows_nothing():
    environment = {"REBERT_BUNDLE": "/bundle"}
    assert launcher().bundle_of(environment) == Path("/bundle")
    assert read_places(launcher().places(environment)).release is None


@pytest.mark.parametrize(
    ("environment", "problem"), [({}, "REBERT_MODEL is not set"), ({"REBERT_BUNDLE": "/none"}, "no bundle")]
)
def test_an_endpoint_without_a_bundle_is_one_sentence_and_a_remedy(environment: dict[str, str], problem: str):
    done = subprocess.run([sys.executable, DOCKER / "endpoint.py"], env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert problem in done.stderr
    assert "\nTo fix: " in done.stderr
    assert "Traceback" not in done.stderr


def test_jobs_of_kubernetes_are_not_root_and_write_only_where_volumes_are():
    template = json.loads((DOCKER / "kubernetes" / "work-pool.json").read_text(encoding="utf-8"))
    pod = template["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True
    assert pod["containers"][0]["workingDir"] == "{{ working_dir }}"
    asked = set(re.findall(r"\{\{ (\w+) \}\}", json.dumps(template["job_configuration"])))
    assert asked == set(template["variables"]["properties"])


def test_containers_of_the_docker_pool_fit_the_compose_stack():
    template = json.loads((DOCKER / "work-pool-docker.json").read_text(encoding="utf-8"))
    asked = set(re.findall(r"\{\{ (\w+) \}\}", json.dumps(template["job_configuration"])))
    wanted = template["variables"]["properties"]
    assert asked == set(wanted)
    volumes = [volume.split(":") for volume in wanted["volumes"]["default"]]
    named = {name.removeprefix("rebert_") for name, *_ in volumes if not name.startswith("/")}
    assert named <= set(COMPOSE["volumes"])
    assert {name.removeprefix("rebert_") for name in wanted["networks"]["default"]} <= set(COMPOSE["networks"])
    mounted = {target for _, target, *_ in volumes}
    files = {value for name, value in wanted["env"]["default"].items() if name.endswith("__FILE")}
    assert files <= mounted
    assert {Path(file).name for file in files} <= set(COMPOSE["secrets"])


def test_deployments_of_kubernetes_are_hardened_and_probed():
    documents = [each for path in KUBERNETES for each in yaml.safe_load_all(path.read_text(encoding="utf-8"))]
    pods = [each["spec"]["template"]["spec"] for each in documents if each["kind"] == "Deployment"]
    claims = {each["metadata"]["name"] for each in documents if each["kind"] == "PersistentVolumeClaim"}
    pods += [each["spec"]["template"]["spec"] for each in documents if each["kind"] == "Job"]
    assert len(pods) == 4
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"] is True
        for container in pod["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert {"livenessProbe", "startupProbe"} <= set(container) or "ports" not in container
            assert not container["image"].endswith(":latest")
            mounted = {each["name"] for each in container["volumeMounts"]}
            assert mounted <= {volume["name"] for volume in pod["volumes"]}
        for volume in pod["volumes"]:
            assert volume.get("persistentVolumeClaim", {}).get("claimName", "rebert-home") in claims


def test_hadolint_has_nothing_to_say():
    done = subprocess.run([tool("hadolint"), DOCKER / "Dockerfile"], capture_output=True, text=True)
    assert done.stdout == ""
    assert done.returncode == 0


def test_yamllint_has_nothing_to_say():
    rules = "{extends: relaxed, rules: {line-length: {max: 140}, key-duplicates: {forbid-duplicated-merge-keys: true}}}"
    files = [*DOCKER.glob("*.yaml"), *DOCKER.glob("grafana/*.yaml"), *KUBERNETES]
    done = subprocess.run([tool("yamllint"), "-s", "-d", rules, *files], capture_output=True, text=True)
    assert done.stdout == ""
    assert done.returncode == 0
